//! The wire over a serial port.

use super::wire::{FeedError, Wire};
use serialport::SerialPort;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

/// A serial port, 8 bits, no parity, one stop bit.
pub struct SerialWire(Box<dyn SerialPort>);

/// Opens a port.
///
/// # Errors
/// [`FeedError::NoPort`] names the ports that there are.
pub fn open(port: &str, baud: u32) -> Result<SerialWire, FeedError> {
    let opened = serialport::new(port, baud)
        .timeout(Duration::from_millis(1))
        .open();
    opened.map(SerialWire).map_err(|e| {
        let found = serialport::available_ports().unwrap_or_default();
        let found: Vec<String> = found.into_iter().map(|port| port.port_name).collect();
        FeedError::NoPort {
            port: port.into(),
            reason: e.to_string(),
            found: if found.is_empty() {
                "none".into()
            } else {
                found.join(", ")
            },
        }
    })
}

/// Returns the bytes done, 0 where there was none in time.
fn done(result: std::io::Result<usize>) -> Result<usize, FeedError> {
    match result {
        Ok(n) => Ok(n),
        Err(e)
            if matches!(
                e.kind(),
                ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted
            ) =>
        {
            Ok(0)
        }
        Err(e) => Err(FeedError::Broken {
            reason: e.to_string(),
        }),
    }
}

impl Wire for SerialWire {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FeedError> {
        done(self.0.read(buffer))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, FeedError> {
        done(self.0.write(bytes))
    }
}
