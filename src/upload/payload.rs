//! A session to its request body (contract sections 3 to 7).
