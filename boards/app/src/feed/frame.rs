//! Frames on a line that may lose and change bytes.
//!
//! ```text
//! offset size field
//!  0     2    magic     "TL"
//!  2     1    version   1
//!  3     1    kind      which message
//!  4     2    sequence  of the request; an answer carries that of its request
//!  6     2    length    n bytes of payload, 1024 at most
//!  8     n    payload
//!  8+n   4    CRC-32 of all before it
//! ```
//!
//! Numbers are little-endian. What is no frame is passed over byte by byte, so that a reader finds the next
//! one whatever came before it.

use tailtune::store::record::checksum;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first two bytes of a frame.
pub const MAGIC: [u8; 2] = *b"TL";
/// The version of the frames and of the messages in them.
pub const VERSION: u8 = 1;
/// The most bytes of payload.
pub const MAX_PAYLOAD: usize = 1024;
/// The most bytes of a frame.
pub const MAX_FRAME: usize = HEADER + MAX_PAYLOAD + CHECK;

const HEADER: usize = size_of::<Header>();
const CHECK: usize = size_of::<u32>();

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: [u8; 2],
    version: u8,
    kind: u8,
    sequence: U16,
    len: U16,
}

/// One message on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'f> {
    /// Which message.
    pub kind: u8,
    /// Of the request.
    pub sequence: u16,
    /// The message's fields.
    pub payload: &'f [u8],
}

impl Frame<'_> {
    /// Writes the frame's bytes to the start of `buffer` and returns how many they are; none if they do not
    /// fit there, or the payload is too long.
    pub fn emit(&self, buffer: &mut [u8]) -> Option<usize> {
        let n = self.payload.len();
        if n > MAX_PAYLOAD {
            return None;
        }
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            kind: self.kind,
            sequence: U16::new(self.sequence),
            len: U16::new(n as u16),
        };
        let (covered, check) = buffer
            .get_mut(..HEADER + n + CHECK)?
            .split_at_mut_checked(HEADER + n)?;
        let (head, payload) = covered.split_at_mut_checked(HEADER)?;
        head.copy_from_slice(header.as_bytes());
        payload.copy_from_slice(self.payload);
        check.copy_from_slice(&checksum(covered).to_le_bytes());
        Some(HEADER + n + CHECK)
    }
}

/// What the bytes at the start of a buffer are.
enum Start {
    /// The beginning of a frame.
    Part,
    /// A frame of so many bytes of payload.
    Whole(usize),
    /// None.
    Noise,
}

fn start(bytes: &[u8]) -> Start {
    let magic = bytes
        .iter()
        .zip(MAGIC)
        .all(|(byte, wanted)| *byte == wanted);
    let version = bytes.get(2).is_none_or(|version| *version == VERSION);
    if !magic || !version {
        return Start::Noise;
    }
    let Ok((header, _)) = Header::ref_from_prefix(bytes) else {
        return Start::Part;
    };
    let n = usize::from(header.len.get());
    if n > MAX_PAYLOAD {
        return Start::Noise;
    }
    let frame = bytes.get(..HEADER + n + CHECK);
    let Some((covered, check)) = frame.and_then(|frame| frame.split_at_checked(HEADER + n)) else {
        return Start::Part;
    };
    match checksum(covered).to_le_bytes() == check {
        true => Start::Whole(n),
        false => Start::Noise,
    }
}

/// Finds frames in bytes as they come.
#[derive(Debug, Clone)]
pub struct Receiver {
    buffer: [u8; MAX_FRAME],
    len: usize,
    /// Bytes of the frame that was given out last: they go when the next one is asked for.
    given: usize,
    noise: u32,
}

impl Receiver {
    /// Returns a reader that has seen nothing.
    pub const fn new() -> Self {
        Self {
            buffer: [0; MAX_FRAME],
            len: 0,
            given: 0,
            noise: 0,
        }
    }

    /// Returns where the next bytes go; after [`next`](Self::next) returned none, it is not empty.
    pub fn room(&mut self) -> &mut [u8] {
        self.drop_given();
        self.buffer.get_mut(self.len..).unwrap_or_default()
    }

    /// Says how many bytes were put into [`room`](Self::room).
    pub fn filled(&mut self, n: usize) {
        self.len = self.len.saturating_add(n).min(MAX_FRAME);
    }

    /// Returns the next whole frame; none until more bytes have come.
    #[expect(
        clippy::should_implement_trait,
        reason = "a frame lies in the reader's own buffer"
    )]
    pub fn next(&mut self) -> Option<Frame<'_>> {
        self.drop_given();
        loop {
            let bytes = self.buffer.get(..self.len).unwrap_or_default();
            match start(bytes) {
                Start::Part => return None,
                Start::Whole(n) => {
                    self.given = HEADER + n + CHECK;
                    break;
                }
                Start::Noise => {
                    self.noise = self.noise.saturating_add(1);
                    self.drop_first(1);
                }
            }
        }
        let (header, rest) = Header::ref_from_prefix(&self.buffer).ok()?;
        Some(Frame {
            kind: header.kind,
            sequence: header.sequence.get(),
            payload: rest.get(..header.len.get().into())?,
        })
    }

    /// Gives the frame that was given out last out once more.
    pub const fn unread(&mut self) {
        self.given = 0;
    }

    /// Returns how many bytes were passed over because they were in no frame.
    pub const fn noise(&self) -> u32 {
        self.noise
    }

    fn drop_given(&mut self) {
        let given = core::mem::take(&mut self.given);
        self.drop_first(given);
    }

    fn drop_first(&mut self, n: usize) {
        let n = n.min(self.len);
        self.buffer.copy_within(n..self.len, 0);
        self.len -= n;
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn bytes(kind: u8, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let mut buffer = [0; MAX_FRAME];
        let frame = Frame {
            kind,
            sequence,
            payload,
        };
        let n = frame.emit(&mut buffer).unwrap();
        buffer[..n].to_vec()
    }

    /// Puts bytes in, so many at a time, and returns what came out.
    fn received(receiver: &mut Receiver, mut bytes: &[u8], step: usize) -> Vec<(u8, u16, Vec<u8>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let room = receiver.room();
            assert!(!room.is_empty());
            let n = step.min(room.len()).min(bytes.len());
            room[..n].copy_from_slice(&bytes[..n]);
            receiver.filled(n);
            bytes = &bytes[n..];
            while let Some(frame) = receiver.next() {
                found.push((frame.kind, frame.sequence, frame.payload.to_vec()));
            }
        }
        found
    }

    #[test]
    fn the_layout_is_as_described() {
        let found = bytes(0x83, 0x0201, b"ab");
        assert_eq!(found[..10], *b"TL\x01\x83\x01\x02\x02\x00ab");
        assert_eq!(found[10..], checksum(&found[..10]).to_le_bytes());
        let mut small = [0; 13];
        let frame = Frame {
            kind: 1,
            sequence: 2,
            payload: &[0; 2],
        };
        assert_eq!(frame.emit(&mut small), None);
        let payload = &[0; MAX_PAYLOAD + 1];
        let mut large = [0; 2 * MAX_FRAME];
        assert_eq!(Frame { payload, ..frame }.emit(&mut large), None);
    }

    #[test]
    fn frames_come_through_in_pieces_of_any_length_and_between_noise() {
        let long: Vec<u8> = (0..MAX_PAYLOAD).map(|i| i as u8).collect();
        let frames = [
            (1, 7, Vec::new()),
            (2, 8, long.clone()),
            (0x81, 9, b"TLTLTL".to_vec()),
        ];
        let mut line = Vec::new();
        for (kind, sequence, payload) in &frames {
            // Among it what begins as a frame does, and what is one of too many bytes.
            line.extend(b"TTL\x01\x05\x00\x00\xff\xff, T");
            line.extend(bytes(*kind, *sequence, payload));
        }
        for step in [1, 2, 13, 512, 4096] {
            let mut receiver = Receiver::new();
            assert_eq!(received(&mut receiver, &line, step), frames, "{step}");
            assert_eq!(receiver.noise(), 3 * 12);
        }
    }

    /// Whatever single bit is changed, no other frame comes of it, and the next one does.
    #[test]
    fn a_changed_bit_loses_one_frame_at_most() {
        let (first, second) = (bytes(4, 1, b"some samples"), bytes(4, 2, &[7; MAX_PAYLOAD]));
        for bit in 0..8 * first.len() {
            let mut line = first.clone();
            line[bit / 8] ^= 1 << (bit % 8);
            line.extend(&second);
            // A length that was changed makes the reader wait for more than one frame holds.
            line.extend([0; MAX_FRAME]);
            let found = received(&mut Receiver::new(), &line, 64);
            assert_eq!(found, [(4, 2, [7; MAX_PAYLOAD].to_vec())], "bit {bit}");
        }
    }
}
