//! Tails, and flashes that hold them.

use super::mock_flash::{MockError, MockFlash};
use tailtune::store::record::{Record, checksum};
use tailtune::store::{Recovery, Store, StoreError};

pub const MODEL: [u8; 16] = *b"the model's  id.";
pub const OTHER: [u8; 16] = *b"another model id";

pub type Failed = StoreError<MockError>;

/// Bytes that differ from one save to the next in length and content.
pub fn payload(n: usize, len: usize) -> Vec<u8> {
    (0..len + n % 3)
        .map(|i| (i * 7 + n * 31 + (i >> 8)) as u8)
        .collect()
}

/// Returns a store over the whole of a flash.
pub fn open<const R: usize, const W: usize, const E: usize>(
    flash: &mut MockFlash<R, W, E>,
) -> Store<&mut MockFlash<R, W, E>> {
    let end = flash.bytes.len() as u32;
    Store::new(flash, 0..end).unwrap()
}

/// What the next boot finds: the payload and which one it is, or why there is none.
pub fn find<const R: usize, const W: usize, const E: usize>(
    flash: &MockFlash<R, W, E>,
) -> Result<(Vec<u8>, Recovery), Failed> {
    let mut flash = flash.clone();
    flash.boot();
    let mut buffer = vec![0; flash.bytes.len()];
    let mut store = open(&mut flash);
    let boot = store.boot(&MODEL);
    assert_eq!(boot.map(|(saved, _)| saved), store.locate(&MODEL));
    let (saved, recovery) = boot?;
    assert_eq!(store.load(&MODEL, &mut buffer), Ok(saved));
    buffer.truncate(saved.len);
    Ok((buffer, recovery))
}

/// The payload that the next boot finds.
pub fn found<const R: usize, const W: usize, const E: usize>(
    flash: &MockFlash<R, W, E>,
) -> Result<Vec<u8>, Failed> {
    find(flash).map(|(payload, _)| payload)
}

pub fn save<const R: usize, const W: usize, const E: usize>(
    flash: &mut MockFlash<R, W, E>,
    payload: &[u8],
) -> Result<(), Failed> {
    open(flash).save(&MODEL, payload).map(|_| ())
}

/// An export of another device: its wear and its numbers are not this one's.
pub fn exported(payload: &[u8]) -> Vec<u8> {
    let record = Record {
        sequence: 0x8000_0000,
        len: payload.len() as u32,
        model_id: MODEL,
        erases: 70_000,
        other_erases: 69_999,
        payload_crc: checksum(payload),
    };
    [&record.emit(), payload].concat()
}

/// What is done to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Save,
    Parts,
    Import,
    Reset,
}

impl Act {
    pub const ALL: [Self; 4] = [Self::Save, Self::Parts, Self::Import, Self::Reset];

    pub fn run<const R: usize, const W: usize, const E: usize>(
        self,
        flash: &mut MockFlash<R, W, E>,
        payload: &[u8],
    ) -> Result<(), Failed> {
        let mut store = open(flash);
        match self {
            Self::Save => store.save(&MODEL, payload).map(|_| ()),
            Self::Parts => {
                let (a, rest) = payload.split_at(payload.len() / 3);
                let (b, c) = rest.split_at(rest.len().min(7));
                store.save_parts(&MODEL, &[a, &[], b, c]).map(|_| ())
            }
            Self::Import => store.import(&MODEL, &exported(payload)).map(|_| ()),
            Self::Reset => store.factory_reset(),
        }
    }

    /// What is found afterwards.
    pub fn leaves(self, payload: &[u8]) -> Option<Vec<u8>> {
        (self != Self::Reset).then(|| payload.to_vec())
    }
}
