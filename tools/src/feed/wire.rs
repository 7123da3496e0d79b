//! Bytes to and from a device.

use tailtune_app::feed::message::{Reason, Refused};

/// A line to a device. Bytes may get lost on it.
pub trait Wire {
    /// Takes what has come, without waiting; 0 where nothing has.
    ///
    /// # Errors
    /// [`FeedError::Broken`].
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FeedError>;

    /// Sends as many bytes as there is room for now, and returns how many that are.
    ///
    /// # Errors
    /// [`FeedError::Broken`].
    fn write(&mut self, bytes: &[u8]) -> Result<usize, FeedError>;
}

impl Wire for Box<dyn Wire> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FeedError> {
        (**self).read(buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, FeedError> {
        (**self).write(bytes)
    }
}

/// Why a device does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// No block of RTT in its RAM.
    #[error(
        "no RTT control block was found in the RAM of {board}: its firmware does not run, or has no line for clips; flash the board's own firmware (`tailtune flash FIRMWARE --board {board}`) and try again"
    )]
    NoBlock {
        /// The board.
        board: String,
    },
    /// A block of RTT without the channels.
    #[error(
        "the firmware on {board} has RTT, but no channel called {wanted:?} (found: {found}): it has no line for clips; flash the board's own firmware (`tailtune flash FIRMWARE --board {board}`)"
    )]
    NoChannel {
        /// The board.
        board: String,
        /// The channel's name.
        wanted: &'static str,
        /// Those that there are.
        found: String,
    },
    /// A serial port that cannot be opened.
    #[error(
        "--serial {port}: {reason}; expected a serial port that this user may open; found: {found}"
    )]
    NoPort {
        /// The port.
        port: String,
        /// Why.
        reason: String,
        /// Those that there are.
        found: String,
    },
    /// The line broke.
    #[error(
        "the line to the device broke: {reason}; check the cable and the board's power and run the same command again"
    )]
    Broken {
        /// Why.
        reason: String,
    },
    /// Nothing comes.
    #[error(
        "the device is silent: {doing} had no answer for {seconds} seconds; it may be at a job still (its log tells), or its firmware may have no line for clips: wait, reset it, or give --timeout"
    )]
    Silent {
        /// What it was asked.
        doing: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// The device holds another model.
    #[error(
        "the device holds model {found}, the image is of model {expected}: flash that image, or give the one that the device holds"
    )]
    OtherModel {
        /// The device's.
        found: String,
        /// The image's.
        expected: String,
    },
    /// The device does not do it.
    #[error("the device refuses {doing}: {}", refusal(.refused))]
    Refused {
        /// What it was asked.
        doing: &'static str,
        /// What it says.
        refused: Refused,
    },
    /// The device says what is no answer to that.
    #[error(
        "the device answers {doing} with something else: its firmware and this tailtune are not of one version"
    )]
    Unexpected {
        /// What it was asked.
        doing: &'static str,
    },
    /// A message that no frame holds.
    #[error(
        "{doing} is longer than one message may be: give fewer classes that are new, or shorter names"
    )]
    TooLong {
        /// What it was to be asked.
        doing: &'static str,
    },
}

fn refusal(refused: &Refused) -> String {
    let (needed, found) = (refused.needed.get(), refused.found.get());
    match refused.reason {
        Reason::Message => {
            "it did not expect that now; run the same command again, and if that does not help, reset the board"
                .into()
        }
        Reason::Image => "there is no image in its model region; put one there with `tailtune flash`".into(),
        Reason::Encoder => {
            "its memory does not hold the model, or the model has no head; `tailtune plan` says which board it fits"
                .into()
        }
        Reason::FrontEnd => {
            "its image carries no front end, or one of another length than its firmware is built for".into()
        }
        Reason::Length => format!("a clip of {found}; the model reads {needed} at most"),
        Reason::Memory => format!("{needed} are needed, {found} are there; give fewer clips or classes"),
        Reason::Shots => format!("{needed} clips to learn from, it keeps {found}; give fewer --shots"),
        Reason::Method => "over a line it tunes heads only; take --method ncm, ridge or softmax, or a job".into(),
        Reason::Tune => "tuning failed, the old tail stays; its log says why".into(),
        Reason::Store => "the store failed, the old tail stays; its log says why".into(),
        Reason::Tail => {
            "the tail in its flash does not fit its model or its memory; `tailtune tail erase` forgets it".into()
        }
    }
}
