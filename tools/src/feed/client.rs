//! One request at a time, again until it is replied to.

use super::wire::{FeedError, Wire};
use crate::flash::slots::hex;
use std::time::{Duration, Instant, SystemTime};
use tailtune::tune::Recipe;
use tailtune_app::feed::frame::{MAX_FRAME, Receiver};
use tailtune_app::feed::message::{Clip, Form, NO_LABEL, Reply, Request, Welcome};
use tailtune_app::job::{Job, Kind};
use tailtune_app::outcome::Outcome;
use zerocopy::little_endian::{U16, U32};

/// Bytes of a clip in one message: an even number.
const PART: usize = 512;
/// Without a sign of life for so long, a request or its reply got lost.
const AGAIN: Duration = Duration::from_millis(1500);
/// Between two looks at the line.
const POLL: Duration = Duration::from_micros(500);

/// What a device takes a clip for.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The class.
    pub class: usize,
    /// What it took, in the device's unit.
    pub cost: u32,
    /// Logits of the image's own head; none where the tail is of a block.
    pub own: Vec<i16>,
    /// Logits of the tail; none without one.
    pub tail: Vec<f32>,
}

/// A device at the other end of a wire.
pub struct Client<W> {
    wire: W,
    receiver: Receiver,
    sequence: u16,
    patience: Duration,
}

impl<W: Wire> Client<W> {
    /// Takes a wire. A device that gives no sign of life for `patience` is silent.
    pub fn new(wire: W, patience: Duration) -> Self {
        // Not that of the last visit: the device would take the first request for one that came again.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            wire,
            receiver: Receiver::new(),
            sequence: now.map_or(0, |t| t.as_millis() as u16),
            patience,
        }
    }

    /// Asks who is there, past whatever an earlier visit left on the line.
    ///
    /// # Errors
    /// [`FeedError::OtherModel`] where it does not hold this model, or any other.
    pub fn hello(&mut self, model_id: &[u8; 16]) -> Result<Welcome, FeedError> {
        const DOING: &str = "the greeting";
        // The end of whatever frame was begun there.
        let deadline = Instant::now() + self.patience;
        self.send(&[0; MAX_FRAME], DOING, deadline)?;
        let Reply::Welcome(welcome) = self.ask(&Request::Hello, DOING)? else {
            return Err(FeedError::Unexpected { doing: DOING });
        };
        if welcome.model_id != *model_id {
            return Err(FeedError::OtherModel {
                found: hex(&welcome.model_id),
                expected: hex(model_id),
            });
        }
        Ok(welcome)
    }

    /// Says that `train` clips with labels follow, and that they are to be learned from.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn learn(
        &mut self,
        recipe: &Recipe,
        train: usize,
        added: &[String],
    ) -> Result<(), FeedError> {
        let names = crate::emulator::names(added);
        let job = Job {
            kind: Kind::Adapt,
            train: train as u32,
            test: 0,
            sample_len: 0,
            names_len: names.len() as u32,
            recipe: *recipe,
        };
        self.ready(&Request::Learn(job, &names), "to learn")
    }

    /// Sends a clip and returns what it is taken for.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn clip(
        &mut self,
        label: Option<u16>,
        form: Form,
        bytes: &[u8],
    ) -> Result<Answer, FeedError> {
        const DOING: &str = "a clip";
        let clip = Clip {
            label: U16::new(label.unwrap_or(NO_LABEL)),
            form,
            reserved: 0,
            bytes: U32::new(bytes.len() as u32),
        };
        self.ready(&Request::Clip(clip), DOING)?;
        let (body, last) = bytes.split_at(bytes.len().saturating_sub(1) / PART * PART);
        for part in body.chunks(PART) {
            self.ready(&Request::Data(part), DOING)?;
        }
        match self.ask(&Request::Data(last), DOING)? {
            Reply::Answer(answer) => Ok(Answer {
                class: answer.class.into(),
                cost: answer.cost,
                own: answer.own.iter().map(|l| l.get()).collect(),
                tail: answer.tail.iter().map(|l| l.get()).collect(),
            }),
            _ => Err(FeedError::Unexpected { doing: DOING }),
        }
    }

    /// Lets the device fit on what it has learned from, and save the tail.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn fit(&mut self) -> Result<Outcome, FeedError> {
        const DOING: &str = "the fit";
        match self.ask(&Request::Fit, DOING)? {
            Reply::Tuned(outcome) => Ok(*outcome),
            _ => Err(FeedError::Unexpected { doing: DOING }),
        }
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn bye(&mut self) -> Result<(), FeedError> {
        self.ready(&Request::Bye, "the goodbye")
    }

    fn ready(&mut self, request: &Request<'_>, doing: &'static str) -> Result<(), FeedError> {
        match self.ask(request, doing)? {
            Reply::Ready => Ok(()),
            _ => Err(FeedError::Unexpected { doing }),
        }
    }

    /// Sends a request until it is replied to.
    fn ask(&mut self, request: &Request<'_>, doing: &'static str) -> Result<Reply<'_>, FeedError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut buffer = [0; MAX_FRAME];
        let n = request.emit(self.sequence, &mut buffer);
        let frame = n.and_then(|n| buffer.get(..n));
        let frame = frame.ok_or(FeedError::TooLong { doing })?;
        let mut deadline = Instant::now() + self.patience;
        self.send(frame, doing, deadline)?;
        let mut again = Instant::now() + AGAIN;
        loop {
            if let Some(frame) = self.receiver.next() {
                if frame.sequence != self.sequence {
                    continue;
                }
                match Reply::parse(&frame) {
                    None => return Err(FeedError::Unexpected { doing }),
                    Some(Reply::Working) => {
                        deadline = Instant::now() + self.patience;
                        again = Instant::now() + AGAIN;
                    }
                    Some(_) => break,
                }
            } else if self.receive()? > 0 {
            } else if Instant::now() > deadline {
                return Err(self.silent(doing));
            } else if Instant::now() > again {
                self.send(frame, doing, deadline)?;
                again = Instant::now() + AGAIN;
            } else {
                std::thread::sleep(POLL);
            }
        }
        self.receiver.unread();
        match self.receiver.next().and_then(|frame| Reply::parse(&frame)) {
            Some(Reply::Refused(refused)) => Err(FeedError::Refused { doing, refused }),
            Some(reply) => Ok(reply),
            None => Err(FeedError::Unexpected { doing }),
        }
    }

    fn receive(&mut self) -> Result<usize, FeedError> {
        let n = self.wire.read(self.receiver.room())?;
        self.receiver.filled(n);
        Ok(n)
    }

    fn send(
        &mut self,
        mut bytes: &[u8],
        doing: &'static str,
        deadline: Instant,
    ) -> Result<(), FeedError> {
        loop {
            let n = self.wire.write(bytes)?;
            bytes = bytes.get(n..).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.silent(doing));
            }
            std::thread::sleep(POLL);
        }
    }

    fn silent(&self, doing: &'static str) -> FeedError {
        let seconds = self.patience.as_secs();
        FeedError::Silent { doing, seconds }
    }
}
