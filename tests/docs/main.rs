//! What is written down for others is true: the README, the OpenAPI document, the systemd units.

#[path = "../support/endpoint.rs"]
mod endpoint;
mod openapi;
mod readme;
#[path = "../support/schema.rs"]
mod schema;
#[path = "../support/service.rs"]
mod service;
mod units;
#[path = "../support/web.rs"]
mod web;
