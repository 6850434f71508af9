//! Raw text to checked values; where files live.
