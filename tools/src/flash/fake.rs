//! A device in memory: sectors, NOR semantics, a cable that can be pulled. And what the parts do with it.

mod plans;
mod tails;

use super::device::{Device, DeviceError, Progress, Step};
use super::file::Piece;
use crate::board::Board;
use std::ops::Range;

/// A chip's flash, from an address on.
#[derive(Debug, Clone)]
pub struct Fake {
    pub base: u32,
    pub bytes: Vec<u8>,
    /// Erase blocks.
    pub blocks: Vec<Range<u32>>,
    /// Sector erases and page writes that are still done; then the cable is out.
    pub fuel: Option<usize>,
    /// A byte that does not change when it is written.
    pub stuck: Option<u32>,
    /// Sectors erased, bytes written, resets.
    pub log: Log,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    pub erased: Vec<u32>,
    pub written: usize,
    pub chip_erases: usize,
    pub resets: usize,
    pub resumes: usize,
}

const PAGE: usize = 512;

impl Fake {
    pub fn new(board: &Board) -> Self {
        let flash = &board.flash[0];
        Self {
            base: flash.address,
            bytes: vec![0xff; flash.bytes() as usize],
            blocks: flash.blocks().collect(),
            fuel: None,
            stuck: None,
            log: Log::default(),
        }
    }

    pub fn at(&self, range: Range<u32>) -> &[u8] {
        &self.bytes[(range.start - self.base) as usize..(range.end - self.base) as usize]
    }

    pub fn set(&mut self, address: u32, bytes: &[u8]) {
        let at = (address - self.base) as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn burn(&mut self, doing: &str) -> Result<(), DeviceError> {
        if let Some(fuel) = &mut self.fuel {
            if *fuel == 0 {
                return Err(DeviceError::Failed {
                    doing: doing.into(),
                    reason: "the cable is out".into(),
                    spoiled: true,
                });
            }
            *fuel -= 1;
        }
        Ok(())
    }
}

impl Device for Fake {
    fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), DeviceError> {
        if self.fuel == Some(0) {
            self.burn("reading")?;
        }
        bytes.copy_from_slice(self.at(address..address + bytes.len() as u32));
        Ok(())
    }

    fn sectors(&self, range: &Range<u32>) -> Result<Vec<Range<u32>>, DeviceError> {
        let blocks = self.blocks.iter().cloned();
        Ok(blocks
            .filter(|b| b.start < range.end && range.start < b.end)
            .collect())
    }

    fn write(&mut self, pieces: &[Piece], progress: &mut Progress<'_>) -> Result<(), DeviceError> {
        let mut sectors: Vec<Range<u32>> = Vec::new();
        for piece in pieces {
            for sector in self.sectors(&piece.range())? {
                if !sectors.contains(&sector) {
                    sectors.push(sector);
                }
            }
        }
        for sector in sectors {
            self.erase(sector)?;
        }
        let total = pieces.iter().map(|p| p.bytes.len() as u64).sum();
        let mut done = 0;
        for piece in pieces {
            for (i, page) in piece.bytes.chunks(PAGE).enumerate() {
                self.burn("writing the flash")?;
                let at = (piece.address - self.base) as usize + i * PAGE;
                for (k, byte) in page.iter().enumerate() {
                    if self.stuck != Some(self.base + (at + k) as u32) {
                        self.bytes[at + k] &= byte;
                    }
                }
                self.log.written += page.len();
                done += page.len() as u64;
                progress(Step::Program, done, total);
            }
        }
        Ok(())
    }

    fn erase(&mut self, range: Range<u32>) -> Result<(), DeviceError> {
        for sector in self.sectors(&range)? {
            self.burn("erasing")?;
            let at = (sector.start - self.base) as usize;
            self.bytes[at..at + sector.len()].fill(0xff);
            self.log.erased.push(sector.start);
        }
        Ok(())
    }

    fn erase_chip(&mut self) -> Result<(), DeviceError> {
        self.burn("erasing all")?;
        self.bytes.fill(0xff);
        self.log.chip_erases += 1;
        Ok(())
    }

    fn reset(&mut self) -> Result<(), DeviceError> {
        self.burn("the reset")?;
        self.log.resets += 1;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), DeviceError> {
        self.log.resumes += 1;
        Ok(())
    }
}

/// A board with sectors of three sizes: vectors in the first, slots of one sector each behind it.
pub fn stm32() -> Board {
    Board::parse("stm32", include_str!("fake/board.toml")).unwrap()
}

/// A board whose slots have several sectors each.
pub fn nrf() -> Board {
    crate::board::find("nrf52840-dk").unwrap()
}
