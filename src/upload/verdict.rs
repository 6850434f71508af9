//! An outcome to a verdict (contract sections 10 and 11).
