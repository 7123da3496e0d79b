//! What host and device say to each other: one answer to each request.
//!
//! A request that comes again, with the sequence number of the last one, is not done again: its answer is
//! sent again. While a device works on one, it says so now and then.
//!
//! ```text
//! request          payload                                       answer
//! 1 hello          -                                             welcome
//! 2 learn          a job's header, the names of added classes    ready: clips that follow are learned from
//! 3 clip           label, form, bytes of the clip                ready
//! 4 data           bytes of the clip, in whole samples           ready; to the last of them, answer
//! 5 fit            -                                             tuned: fitted and saved
//! 6 bye            -                                             ready
//! ```
//!
//! All fields are little-endian and stand in the order of the types below.

use super::frame::{Frame, MAX_PAYLOAD};
use crate::job::{HEADER_BYTES, Job};
use crate::outcome::Outcome;
use zerocopy::little_endian::{F32, I16, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

/// The label of a clip that nobody named.
pub const NO_LABEL: u16 = u16::MAX;

/// What a clip's bytes are.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Form {
    /// int8 values of one input, as the encoder reads them.
    Values = 0,
    /// i16 samples of sound, at the rate of the image's front end.
    Sound = 1,
}

/// What a device counts while it works.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Unit {
    /// Nothing.
    None = 0,
    /// Microseconds.
    Microseconds = 1,
    /// Instructions.
    Instructions = 2,
}

/// Announces a clip.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Clip {
    /// Its class, or [`NO_LABEL`].
    pub label: U16,
    /// What its bytes are.
    pub form: Form,
    /// 0.
    pub reserved: u8,
    /// How many follow.
    pub bytes: U32,
}

/// Who a device is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Welcome {
    /// Of its image.
    pub model_id: [u8; 16],
    /// Classes of the image's own head.
    pub classes: U16,
    /// Most clips that it learns from.
    pub shots: U16,
    /// int8 values of one input.
    pub input: U32,
    /// Samples a second of sound; 0 where it takes values only.
    pub sample_rate: U32,
    /// What it counts.
    pub unit: Unit,
    /// Whether it answers with a tail: 1, or by the image's own head: 0.
    pub tail: u8,
    /// 0.
    pub reserved: [u8; 2],
    /// Bytes of the tail.
    pub tail_bytes: U32,
    /// CRC-32 of the tail.
    pub tail_crc: U32,
}

/// What a device takes a clip for; the image's own logits i16 and then the tail's f32 follow.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct AnswerHead {
    class: U16,
    own: U16,
    tail: U16,
    reserved: U16,
    cost: U32,
}

/// What a device takes a clip for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer<'a> {
    /// The class with the greatest logit: of the tail, or where there is none, of the image's own head.
    pub class: u16,
    /// What the encoder and the head took, in the device's unit.
    pub cost: u32,
    /// Of the image's own head `[classes]`; none where the tail is of a block.
    pub own: &'a [I16],
    /// Of the tail; none without one.
    pub tail: &'a [F32],
}

impl<'a> Answer<'a> {
    /// Writes the payload to the start of `buffer` and returns how many bytes it has; none where they do not
    /// fit. `own` and `tail` come as the device has them.
    pub fn emit(
        buffer: &mut [u8],
        class: u16,
        cost: u32,
        own: &[i16],
        tail: &[f32],
    ) -> Option<usize> {
        let head = AnswerHead {
            class: U16::new(class),
            own: U16::new(own.len() as u16),
            tail: U16::new(tail.len() as u16),
            reserved: U16::ZERO,
            cost: U32::new(cost),
        };
        let len = size_of::<AnswerHead>() + size_of_val(own) + size_of_val(tail);
        let (place, rest) = buffer
            .get_mut(..len)?
            .split_at_mut_checked(size_of::<AnswerHead>())?;
        place.copy_from_slice(head.as_bytes());
        let (own_place, tail_place) = rest.split_at_mut_checked(size_of_val(own))?;
        for (place, logit) in own_place.chunks_exact_mut(2).zip(own) {
            place.copy_from_slice(&logit.to_le_bytes());
        }
        for (place, logit) in tail_place.chunks_exact_mut(4).zip(tail) {
            place.copy_from_slice(&logit.to_le_bytes());
        }
        Some(len)
    }

    fn parse(payload: &'a [u8]) -> Option<Self> {
        let (head, rest) = AnswerHead::ref_from_prefix(payload).ok()?;
        let (own, rest) = <[I16]>::ref_from_prefix_with_elems(rest, head.own.get().into()).ok()?;
        let tail = <[F32]>::ref_from_bytes_with_elems(rest, head.tail.get().into()).ok()?;
        Some(Self {
            class: head.class.get(),
            cost: head.cost.get(),
            own,
            tail,
        })
    }
}

/// Why a device does not do what it was asked.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Reason {
    /// The message has no meaning here: another kind was expected, or its fields are malformed.
    Message = 1,
    /// The model region holds no image.
    Image = 2,
    /// The image does not fit the memory, or has no head.
    Encoder = 3,
    /// The image carries no front end, or one too large for this firmware.
    FrontEnd = 4,
    /// A clip of a length that the model does not read.
    Length = 5,
    /// Not enough memory.
    Memory = 6,
    /// More clips than `learn` announced, or than there is room for.
    Shots = 7,
    /// The firmware has no such method over a line.
    Method = 8,
    /// Tuning failed; the old tail stays.
    Tune = 9,
    /// The store failed; the old tail stays.
    Store = 10,
    /// The tail in flash does not fit the model or the memory.
    Tail = 11,
}

/// A refusal: why, and where it is about sizes, which.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// 0.
    pub reserved: [u8; 3],
    /// What was asked for, or would be needed.
    pub needed: U32,
    /// What there is.
    pub found: U32,
}

impl Refused {
    /// A refusal without sizes.
    pub const fn new(reason: Reason) -> Self {
        Self::sizes(reason, 0, 0)
    }

    /// A refusal with sizes.
    pub const fn sizes(reason: Reason, needed: u32, found: u32) -> Self {
        Self {
            reason,
            reserved: [0; 3],
            needed: U32::new(needed),
            found: U32::new(found),
        }
    }
}

/// From the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Request<'f> {
    /// Who is there?
    Hello,
    /// Learn from the clips that follow: how, from how many (`train`), and the names of the classes to add.
    Learn(Job, &'f [u8]),
    /// A clip.
    Clip(Clip),
    /// Bytes of it.
    Data(&'f [u8]),
    /// Fit on what was learned from, and save.
    Fit,
    /// The end.
    Bye,
}

impl<'f> Request<'f> {
    /// Returns what a frame asks for; none if it is no request, or a malformed one.
    pub fn parse(frame: &Frame<'f>) -> Option<Self> {
        let empty = |request| frame.payload.is_empty().then_some(request);
        match frame.kind {
            1 => empty(Self::Hello),
            2 => {
                let names = frame.payload.get(HEADER_BYTES..)?;
                let job = Job::parse(frame.payload)?;
                (job.names_len as usize == names.len()).then_some(Self::Learn(job, names))
            }
            3 => Clip::try_read_from_bytes(frame.payload)
                .ok()
                .map(Self::Clip),
            4 => Some(Self::Data(frame.payload)),
            5 => empty(Self::Fit),
            6 => empty(Self::Bye),
            _ => None,
        }
    }

    /// Writes the request as a frame to the start of `buffer` and returns its length; none where it does not
    /// fit.
    pub fn emit(&self, sequence: u16, buffer: &mut [u8]) -> Option<usize> {
        let mut learn = [0; MAX_PAYLOAD];
        let clip;
        let (kind, payload): (u8, &[u8]) = match self {
            Self::Hello => (1, &[]),
            Self::Learn(job, names) => {
                let (header, rest) = learn.split_at_mut_checked(HEADER_BYTES)?;
                header.copy_from_slice(&job.emit());
                rest.get_mut(..names.len())?.copy_from_slice(names);
                (2, learn.get(..HEADER_BYTES + names.len())?)
            }
            Self::Clip(announced) => {
                clip = *announced;
                (3, clip.as_bytes())
            }
            Self::Data(bytes) => (4, bytes),
            Self::Fit => (5, &[]),
            Self::Bye => (6, &[]),
        };
        let frame = Frame {
            kind,
            sequence,
            payload,
        };
        frame.emit(buffer)
    }
}

/// The kinds of answers, as frames carry them.
pub(super) mod kind {
    pub const WELCOME: u8 = 0x81;
    pub const READY: u8 = 0x82;
    pub const ANSWER: u8 = 0x83;
    pub const TUNED: u8 = 0x84;
    pub const WORKING: u8 = 0x85;
    pub const REFUSED: u8 = 0x86;
}

/// From the device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reply<'f> {
    /// Who it is.
    Welcome(Welcome),
    /// Done.
    Ready,
    /// What it takes the clip for.
    Answer(Answer<'f>),
    /// What it learned; nothing is measured, so `test` and what of them was right are 0.
    Tuned(&'f Outcome),
    /// It is at it: another reply to the same request follows.
    Working,
    /// It does not do it.
    Refused(Refused),
}

impl<'f> Reply<'f> {
    /// Returns what a frame says; none if it is no reply, or a malformed one.
    pub fn parse(frame: &Frame<'f>) -> Option<Self> {
        let (payload, empty) = (frame.payload, frame.payload.is_empty());
        match frame.kind {
            kind::WELCOME => Welcome::try_read_from_bytes(payload)
                .ok()
                .map(Self::Welcome),
            kind::READY => empty.then_some(Self::Ready),
            kind::ANSWER => Answer::parse(payload).map(Self::Answer),
            kind::TUNED if payload.len() == size_of::<Outcome>() => {
                Outcome::record(payload).map(Self::Tuned)
            }
            kind::WORKING => empty.then_some(Self::Working),
            kind::REFUSED => Refused::try_read_from_bytes(payload)
                .ok()
                .map(Self::Refused),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{MAX_FRAME, Receiver};
    use super::*;
    use crate::job::Kind;
    use tailtune::tune::{MethodId, Recipe};

    fn frame(kind: u8, payload: &[u8]) -> Frame<'_> {
        Frame {
            kind,
            sequence: 1,
            payload,
        }
    }

    #[test]
    fn requests_come_through() {
        let job = Job {
            kind: Kind::Adapt,
            train: 12,
            test: 0,
            sample_len: 7,
            names_len: 5,
            recipe: Recipe::new(MethodId::Ridge),
        };
        let clip = Clip {
            label: U16::new(3),
            form: Form::Sound,
            reserved: 0,
            bytes: U32::new(32000),
        };
        let requests = [
            Request::Hello,
            Request::Learn(job, b"\x04zero"),
            Request::Clip(clip),
            Request::Data(&[1, 2, 3, 4]),
            Request::Fit,
            Request::Bye,
        ];
        let mut receiver = Receiver::new();
        for (sequence, request) in (9..).zip(requests) {
            let mut buffer = [0; MAX_FRAME];
            let n = request.emit(sequence, &mut buffer).unwrap();
            receiver.room()[..n].copy_from_slice(&buffer[..n]);
            receiver.filled(n);
            let frame = receiver.next().unwrap();
            assert_eq!(frame.sequence, sequence);
            assert_eq!(Request::parse(&frame), Some(request));
            assert_eq!(Reply::parse(&frame), None);
        }
        let names = [0; MAX_PAYLOAD];
        let mut buffer = [0; MAX_FRAME];
        assert_eq!(Request::Learn(job, &names).emit(0, &mut buffer), None);
    }

    #[test]
    fn malformed_requests_are_none() {
        let parse = |kind, payload: &[u8]| Request::parse(&frame(kind, payload)).is_some();
        assert!(parse(3, &[0, 0, 1, 0, 0, 0, 0, 0]));
        // A form that there is not, a byte too few, a kind that there is not, a payload where none belongs.
        assert!(!parse(3, &[0, 0, 2, 0, 0, 0, 0, 0]));
        assert!(!parse(3, &[0, 0, 1, 0, 0, 0, 0]));
        assert!(!parse(7, &[]) && !parse(0, &[]));
        assert!(!parse(1, &[0]) && !parse(5, &[0]) && !parse(6, &[0]));
        // No job, or one whose names have another length.
        assert!(!parse(2, &[0; HEADER_BYTES]) && !parse(2, &[]));
    }

    #[test]
    fn answers_come_through() {
        let mut buffer = [0; MAX_PAYLOAD];
        let n = Answer::emit(&mut buffer, 2, 77, &[-5, 300], &[0.5, -1.0, 9.0]).unwrap();
        let Some(Reply::Answer(answer)) = Reply::parse(&frame(kind::ANSWER, &buffer[..n])) else {
            panic!("no answer");
        };
        assert_eq!((answer.class, answer.cost), (2, 77));
        assert_eq!(answer.own, [-5, 300]);
        assert_eq!(answer.tail, [0.5, -1.0, 9.0]);
        // A byte too few, a byte too many, and counts that are not those of the bytes.
        assert_eq!(Reply::parse(&frame(kind::ANSWER, &buffer[..n - 1])), None);
        assert_eq!(Reply::parse(&frame(kind::ANSWER, &buffer[..n + 1])), None);
        buffer[2] = 3;
        assert_eq!(Reply::parse(&frame(kind::ANSWER, &buffer[..n])), None);
        assert_eq!(
            Answer::emit(&mut buffer[..n - 1], 2, 77, &[-5, 300], &[0.5, -1.0, 9.0]),
            None
        );
    }

    #[test]
    fn refusals_name_a_reason_that_there_is() {
        let refused = Refused::sizes(Reason::Memory, 9, 4);
        let payload = refused.as_bytes();
        assert_eq!(
            Reply::parse(&frame(kind::REFUSED, payload)),
            Some(Reply::Refused(refused))
        );
        let mut other = [0; 12];
        other.copy_from_slice(payload);
        for reason in [0, 12, 255] {
            other[0] = reason;
            assert_eq!(Reply::parse(&frame(kind::REFUSED, &other)), None);
        }
    }
}
