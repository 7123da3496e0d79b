//! The host's end of the serial line.

use std::collections::VecDeque;
use std::io::Write;

/// What the chip sent and what it may receive.
#[derive(Default)]
pub struct Uart {
    sent: Vec<u8>,
    sink: Option<Box<dyn Write>>,
    input: VecDeque<u8>,
}

impl Uart {
    /// Passes all bytes on to a file or a stream as well.
    pub fn set_sink(&mut self, sink: Box<dyn Write>) {
        self.sink = Some(sink);
    }

    /// Gives the chip bytes to receive.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
    }

    /// All that was sent so far.
    pub fn sent(&self) -> &[u8] {
        &self.sent
    }

    /// The chip sends.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.sent.extend(bytes);
        if let Some(sink) = &mut self.sink {
            // A closed pipe does not stop the chip.
            let _ = sink.write_all(bytes).and_then(|()| sink.flush());
        }
    }

    /// The chip receives, if there is something.
    pub(crate) fn receive(&mut self) -> Option<u8> {
        self.input.pop_front()
    }

    /// Bytes that wait for the chip.
    pub(crate) fn waiting(&self) -> usize {
        self.input.len()
    }
}
