//! The network of a device: the link monitor against a real kernel, and the service on a network that goes down and
//! comes up. Needs root, for network namespaces; nobody else's network is touched.
#![cfg(target_os = "linux")]

#[path = "../support/endpoint.rs"]
mod endpoint;
mod monitor;
mod scene;
#[path = "../support/service.rs"]
mod service;
mod uploads;
