//! The device's end of a line.

use super::frame::{Frame, MAX_FRAME, Receiver};
use super::message::{Refused, Request, kind};
use super::{Line, LineFailed};
use crate::{Platform, PlatformError};

/// Steps of a forward or a fit between two signs of life.
const STEPS: u32 = 16;

/// Hands out each request once, and sends the last reply again to one that comes again.
pub(super) struct Port<'l, L> {
    pub line: &'l mut L,
    receiver: Receiver,
    /// The last reply, as a frame.
    sent: [u8; MAX_FRAME],
    sent_len: usize,
    /// What it replied to; none before the first request.
    replied: Option<u16>,
    /// The request at hand.
    sequence: u16,
    steps: u32,
}

impl<'l, L: Line> Port<'l, L> {
    pub fn new(line: &'l mut L) -> Self {
        Self {
            line,
            receiver: Receiver::new(),
            sent: [0; MAX_FRAME],
            sent_len: 0,
            replied: None,
            sequence: 0,
            steps: 0,
        }
    }

    /// Returns whether anything has come.
    pub fn anything(&mut self) -> Result<bool, LineFailed> {
        Ok(self.receive()? > 0)
    }

    fn receive(&mut self) -> Result<usize, LineFailed> {
        let n = self.line.read(self.receiver.room())?;
        self.receiver.filled(n);
        Ok(n)
    }

    /// Waits for a request; false where the line gives up.
    pub fn wait(&mut self) -> Result<bool, LineFailed> {
        loop {
            match self.receiver.next() {
                Some(frame) if self.replied == Some(frame.sequence) => {
                    self.line
                        .write(self.sent.get(..self.sent_len).unwrap_or_default())?;
                }
                Some(frame) => {
                    self.sequence = frame.sequence;
                    self.unread();
                    return Ok(true);
                }
                None => {
                    if self.receive()? == 0 && !self.line.wait() {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Takes the request that [`wait`](Self::wait) waited for; none if it is malformed.
    pub fn request(&mut self) -> Option<Request<'_>> {
        Request::parse(&self.receiver.next()?)
    }

    /// Leaves the request that was taken to whoever asks next.
    pub const fn unread(&mut self) {
        self.receiver.unread();
    }

    /// Replies to the request at hand.
    pub fn reply(&mut self, kind: u8, payload: &[u8]) -> Result<(), LineFailed> {
        let frame = Frame {
            kind,
            sequence: self.sequence,
            payload,
        };
        self.sent_len = frame.emit(&mut self.sent).ok_or(LineFailed)?;
        self.replied = Some(self.sequence);
        self.line
            .write(self.sent.get(..self.sent_len).unwrap_or_default())
    }

    pub fn ready(&mut self) -> Result<(), LineFailed> {
        self.reply(kind::READY, &[])
    }

    pub fn refuse(&mut self, refused: &Refused) -> Result<(), LineFailed> {
        self.reply(kind::REFUSED, zerocopy::IntoBytes::as_bytes(refused))
    }
}

/// While it tunes: signs of life, and nothing else.
impl<L: Line> Platform for Port<'_, L> {
    fn read_job(&mut self, _offset: u32, _buffer: &mut [u8]) -> Result<(), PlatformError> {
        Err(PlatformError)
    }

    fn write_result(&mut self, _bytes: &[u8]) -> Result<(), PlatformError> {
        Err(PlatformError)
    }

    fn progress(&mut self, _phase: &str, _done: u32, _total: u32) {}

    fn between_steps(&mut self) {
        self.line.between_steps();
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(STEPS) {
            let mut buffer = [0; 16];
            let frame = Frame {
                kind: kind::WORKING,
                sequence: self.sequence,
                payload: &[],
            };
            // One that is lost is missed by nobody.
            if let Some(n) = frame.emit(&mut buffer) {
                let _ = self.line.write(buffer.get(..n).unwrap_or_default());
            }
        }
    }
}
