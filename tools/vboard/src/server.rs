//! The probe on a TCP port: one client at a time, the chip running in between.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::bmp::{LONGEST, Probe};
use crate::machine::{Machine, Stop};

/// Cycles between two looks at the line.
const SLICE: u64 = 50_000;
/// How long to wait for the client when the core has nothing to do.
const PATIENCE: Duration = Duration::from_millis(1);

/// Serves until `go_on` says no, which is asked between any two slices, and after a power cut once its
/// client is gone.
///
/// # Errors
/// The listener fails. A client that fails is forgotten.
pub fn serve(
    m: &mut Machine,
    listener: &TcpListener,
    mut go_on: impl FnMut(&mut Machine) -> bool,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut client: Option<Client> = None;
    while go_on(m) {
        if client.is_none() {
            if !m.board().flash.powered() {
                return Ok(());
            }
            client = accept(listener)?;
        }
        let busy = match &mut client {
            Some(c) => match c.poll(m) {
                Ok(busy) => busy,
                Err(_) => {
                    client = None;
                    false
                }
            },
            None => false,
        };
        let idle = !m.running() || m.run(SLICE) != Stop::Budget || m.board().scs.sleeping;
        if idle && !busy {
            match &mut client {
                Some(c) => c.wait(),
                None => std::thread::sleep(PATIENCE),
            }
        }
    }
    Ok(())
}

fn accept(listener: &TcpListener) -> io::Result<Option<Client>> {
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nodelay(true)?;
            Ok(Some(Client {
                stream,
                probe: Probe::default(),
                packet: None,
                heard: Instant::now(),
            }))
        }
        Err(e) if would_block(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

struct Client {
    stream: TcpStream,
    probe: Probe,
    /// The packet under way, without its `!`.
    packet: Option<Vec<u8>>,
    heard: Instant,
}

impl Client {
    /// Answers what has come. True while the client is talking.
    fn poll(&mut self, m: &mut Machine) -> io::Result<bool> {
        self.stream.set_nonblocking(true)?;
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.stream.set_nonblocking(false)?;
                self.heard = Instant::now();
                for &byte in &bytes[..n] {
                    self.take(byte, m)?;
                }
            }
            Err(e) if would_block(&e) => {}
            Err(e) => return Err(e),
        }
        Ok(self.heard.elapsed() < PATIENCE / 4)
    }

    fn take(&mut self, byte: u8, m: &mut Machine) -> io::Result<()> {
        match (byte, &mut self.packet) {
            (b'!', _) => self.packet = Some(Vec::new()),
            (b'#', Some(packet)) => {
                let answer = self.probe.answer(m, packet);
                self.packet = None;
                self.stream.write_all(answer.as_bytes())?;
            }
            // Too long: forgotten, and its end then ignored.
            (_, Some(packet)) if packet.len() >= 2 * LONGEST => self.packet = None,
            (_, Some(packet)) => packet.push(byte),
            // `+`, blanks and stray `#` between packets.
            (_, None) => {}
        }
        Ok(())
    }

    /// Waits a little for the client to go on.
    fn wait(&self) {
        let mut byte = [0];
        let waited = self
            .stream
            .set_nonblocking(false)
            .and_then(|()| self.stream.set_read_timeout(Some(PATIENCE)))
            .and_then(|()| self.stream.peek(&mut byte));
        // A timeout is the usual end; other errors show at the next read.
        drop(waited);
    }
}

fn would_block(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
