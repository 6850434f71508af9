//! The loopback listener of a service, as a native caller and a page see it.
#![allow(dead_code, reason = "each test file that includes this uses its own part of it")]

use std::net::{SocketAddr, TcpStream};

use crate::service::{Connection, PATIENCE, Place, wait_for};

/// Where the service listens for web players: with port 0 only its log says so.
pub(crate) fn address(place: &Place) -> SocketAddr {
    wait_for("the service to say where it listens for web players", || {
        let log = place.log_text();
        let line = log.lines().find(|line| line.contains("listening for web players"))?;
        line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
    })
}

/// The bearer token of the service.
pub(crate) fn token(place: &Place) -> String {
    let file = place.journal().with_file_name("api-token");
    std::fs::read_to_string(file).unwrap().trim().to_owned()
}

pub(crate) fn connect(address: SocketAddr) -> Connection<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    Connection::over(stream)
}
