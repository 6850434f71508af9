//! The stand-in for the `downloaded` endpoint.
