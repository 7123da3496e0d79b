//! NOR flash in RAM that is as strict as flash can be, and loses power when told to.
//!
//! Writes clear bits only, a word may be written once between two erases (a second write panics),
//! and everything must be aligned. One *operation* is the programming of one word or the erase of one
//! block: [`Cut`] names the operation in which power goes, and what it leaves behind. With
//! [`ecc`](MockFlash::ecc), reading what such an operation left half done is an error until the next
//! erase.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

/// What an operation leaves behind when power goes during it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Torn {
    /// Nothing was done yet.
    Untouched,
    /// The first half of the bytes (the low half of the bits of a single byte) is done.
    Half,
    /// Some bits are done, others not; erased blocks hold noise.
    Noise(u64),
    /// All was done, and then power went.
    Done,
}

/// When power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Operations that still succeed.
    pub after: u64,
    /// What the next one leaves behind.
    pub torn: Torn,
}

/// A kind of operation that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Calls of `read`.
    Read,
    /// Words programmed.
    Write,
    /// Blocks erased.
    Erase,
}

/// Failures without a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// What fails.
    pub kind: Kind,
    /// How many operations of that kind still succeed.
    pub after: u64,
    /// Whether only one fails, or all from then on.
    pub once: bool,
}

/// What the mock answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MockError {
    /// Power is gone.
    PowerLoss,
    /// A torn word was read.
    Ecc,
    /// A failure that was asked for.
    Failing,
    /// The call itself was wrong.
    Call(NorFlashErrorKind),
}

impl NorFlashError for MockError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Call(kind) => *kind,
            _ => NorFlashErrorKind::Other,
        }
    }
}

/// The flash: see the [module](self).
#[derive(Debug, Clone)]
pub struct MockFlash<const READ: usize, const WRITE: usize, const ERASE: usize> {
    pub bytes: Vec<u8>,
    /// Words that were written since their erase.
    written: Vec<bool>,
    /// Words that ECC cannot read.
    torn: Vec<bool>,
    pub ecc: bool,
    pub cut: Option<Cut>,
    pub failure: Option<Failure>,
    /// A byte and the bits of it that can no longer be cleared.
    pub stuck: Option<(usize, u8)>,
    off: bool,
    /// Operations since the mock was made, reads not counted.
    pub operations: u64,
    pub reads: u64,
    pub words_written: u64,
    /// Erases of each block.
    pub erases: Vec<u32>,
}

fn noise(seed: u64, index: usize) -> u8 {
    let x = (seed ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x >> 40) as u8
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> MockFlash<READ, WRITE, ERASE> {
    /// Returns an erased flash.
    pub fn new(blocks: usize) -> Self {
        Self {
            bytes: vec![0xff; blocks * ERASE],
            written: vec![false; blocks * ERASE / WRITE],
            torn: vec![false; blocks * ERASE / WRITE],
            ecc: false,
            cut: None,
            failure: None,
            stuck: None,
            off: false,
            operations: 0,
            reads: 0,
            words_written: 0,
            erases: vec![0; blocks],
        }
    }

    /// Turns power on again, without cuts or failures to come.
    pub fn boot(&mut self) {
        self.off = false;
        self.cut = None;
        self.failure = None;
    }

    /// Sets bytes as if they had been written, whatever was there.
    pub fn plant(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        for word in offset / WRITE..(offset + bytes.len()).div_ceil(WRITE) {
            self.written[word] = true;
        }
    }

    fn powered(&self) -> Result<(), MockError> {
        if self.off {
            return Err(MockError::PowerLoss);
        }
        Ok(())
    }

    fn failing(&mut self, kind: Kind) -> Result<(), MockError> {
        let Some(failure) = &mut self.failure else {
            return Ok(());
        };
        if failure.kind != kind {
            return Ok(());
        }
        if failure.after > 0 {
            failure.after -= 1;
            return Ok(());
        }
        if failure.once {
            self.failure = None;
        }
        Err(MockError::Failing)
    }

    /// Counts an operation; returns how it is torn if power goes during it.
    fn operate(&mut self) -> Option<Torn> {
        self.operations += 1;
        let cut = self.cut.as_mut()?;
        if cut.after > 0 {
            cut.after -= 1;
            return None;
        }
        self.off = true;
        Some(cut.torn)
    }

    fn write_word(&mut self, word: usize, data: &[u8]) -> Result<(), MockError> {
        self.failing(Kind::Write)?;
        let torn = self.operate();
        if torn == Some(Torn::Untouched) {
            return Err(MockError::PowerLoss);
        }
        assert!(!self.written[word], "word {word} is written twice");
        self.written[word] = true;
        self.words_written += 1;
        for (i, &new) in data.iter().enumerate() {
            let at = word * WRITE + i;
            // Bits of the mask are not programmed.
            let mask = match torn {
                Some(Torn::Half) if WRITE == 1 => 0xf0,
                Some(Torn::Half) if i >= WRITE / 2 => 0xff,
                Some(Torn::Noise(seed)) => noise(seed, at),
                _ => 0,
            };
            let stuck = match self.stuck {
                Some((byte, bits)) if byte == at => bits,
                _ => 0,
            };
            self.bytes[at] &= new | mask | stuck;
        }
        match torn {
            None => Ok(()),
            Some(torn) => {
                self.torn[word] = torn != Torn::Done;
                Err(MockError::PowerLoss)
            }
        }
    }

    fn erase_block(&mut self, block: usize) -> Result<(), MockError> {
        self.failing(Kind::Erase)?;
        let torn = self.operate();
        if torn == Some(Torn::Untouched) {
            return Err(MockError::PowerLoss);
        }
        self.erases[block] += 1;
        let clean = match torn {
            None | Some(Torn::Done) => ERASE,
            Some(Torn::Half) => ERASE / 2 / WRITE * WRITE,
            _ => 0,
        };
        for i in 0..ERASE {
            let at = block * ERASE + i;
            if i < clean {
                self.bytes[at] = 0xff;
            } else if let Some(Torn::Noise(seed)) = torn {
                // Cells on their way up: some have arrived.
                self.bytes[at] |= noise(seed, at);
            }
            if i % WRITE == 0 {
                self.written[at / WRITE] = i >= clean;
                self.torn[at / WRITE] = i >= clean;
            }
        }
        match torn {
            None => Ok(()),
            Some(_) => Err(MockError::PowerLoss),
        }
    }
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> ErrorType
    for MockFlash<READ, WRITE, ERASE>
{
    type Error = MockError;
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> ReadNorFlash
    for MockFlash<READ, WRITE, ERASE>
{
    const READ_SIZE: usize = READ;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), MockError> {
        self.powered()?;
        check_read(self, offset, bytes.len()).map_err(MockError::Call)?;
        self.failing(Kind::Read)?;
        self.reads += 1;
        let start = offset as usize;
        let words = start / WRITE..(start + bytes.len()).div_ceil(WRITE);
        if self.ecc && self.torn[words].contains(&true) {
            // What was read before the fault may be anything.
            bytes.fill(0x5a);
            return Err(MockError::Ecc);
        }
        bytes.copy_from_slice(&self.bytes[start..start + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> NorFlash
    for MockFlash<READ, WRITE, ERASE>
{
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), MockError> {
        self.powered()?;
        check_erase(self, from, to).map_err(MockError::Call)?;
        (from as usize / ERASE..to as usize / ERASE).try_for_each(|block| self.erase_block(block))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), MockError> {
        self.powered()?;
        check_write(self, offset, bytes.len()).map_err(MockError::Call)?;
        let first = offset as usize / WRITE;
        let mut words = bytes.chunks(WRITE).enumerate();
        words.try_for_each(|(i, data)| self.write_word(first + i, data))
    }
}
