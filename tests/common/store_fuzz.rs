//! The store driven by bytes: what it finds in any flash, and what any operations leave in it. For
//! random tests, and for fuzz targets.

use super::mock_flash::{Cut, MockFlash, Torn};
use super::tails::{Act, MODEL, OTHER, exported, find, found, open, payload, save};
use tailtune::store::record::{HEADER_BYTES, Record, Tombstone, checksum, payload_offset};
use tailtune::store::{Recovery, StoreError, export};

/// Numbers out of bytes, 0 at their end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes([0; 4].map(|_: u8| self.byte()))
    }
}

/// Any contents of a flash: an error or a tail whose checks hold, and room for a save.
pub fn contents(data: &[u8]) {
    let mut data = Bytes(data);
    match data.byte() % 4 {
        0 => contents_of(MockFlash::<1, 4, 128>::new(4), data),
        1 => contents_of(MockFlash::<1, 1, 64>::new(4), data),
        2 => contents_of(MockFlash::<8, 8, 64>::new(6), data),
        _ => contents_of(MockFlash::<32, 32, 256>::new(2), data),
    }
}

fn contents_of<const R: usize, const W: usize, const E: usize>(
    mut flash: MockFlash<R, W, E>,
    mut data: Bytes<'_>,
) {
    let slot_bytes = flash.bytes.len() / 2;
    let capacity = slot_bytes - payload_offset(R.max(W));
    let headers = [0, 1].map(|_| (data.byte(), data.word(), data.word()));
    let end = data.0.len().min(flash.bytes.len());
    flash.plant(0, &data.0[..end]);
    for (slot, (kind, sequence, len)) in headers.into_iter().enumerate() {
        let start = slot * slot_bytes;
        if let Some(header) = header(kind, sequence, len, &flash.bytes[start..][..slot_bytes], W) {
            flash.plant(start, &header);
        }
    }

    let mut at = open(&mut flash);
    let _ = (at.inspect(), at.wear(), at.locate(&OTHER));
    let saved = at.locate(&MODEL);
    match find(&flash) {
        Ok((tail, _)) => {
            let saved = saved.unwrap();
            let header = &flash.bytes[saved.slot * slot_bytes..][..HEADER_BYTES];
            let record = Record::parse(header).unwrap();
            assert_eq!(record.model_id, MODEL);
            assert_eq!(record.payload_crc, checksum(&tail));
            assert!(tail.len() == record.len as usize && tail.len() <= capacity);
            assert_eq!(tail, flash.bytes[saved.offset as usize..][..tail.len()]);
            let bytes = read_export(&mut flash, 5);
            assert_eq!(export::parse(&bytes).unwrap().payload, tail);
        }
        Err(error) => assert_eq!(saved, Err(error)),
    }
    let mut reset = flash.clone();
    open(&mut reset).factory_reset().unwrap();
    assert_eq!(found(&reset), Err(StoreError::Empty));
    for flash in [&mut flash, &mut reset] {
        save(flash, b"still works").unwrap();
        assert_eq!(found(flash).unwrap(), b"still works");
    }
    assert_eq!(find(&reset).unwrap().1, Recovery::Newest);
}

/// A sound header with hostile numbers, or none.
fn header(kind: u8, sequence: u32, len: u32, slot: &[u8], word: usize) -> Option<[u8; 48]> {
    let data = &slot[payload_offset(word)..];
    let fitting = len as usize % (data.len() + 1);
    let (len, crc) = match kind & 3 {
        0 => (len, checksum(data)),
        _ => (fitting as u32, checksum(&data[..fitting])),
    };
    let record = Record {
        sequence: if kind & 4 == 0 {
            sequence % 4
        } else {
            sequence
        },
        len,
        model_id: if kind & 8 == 0 { MODEL } else { OTHER },
        erases: sequence,
        other_erases: len,
        payload_crc: crc,
    };
    let tombstone = Tombstone {
        sequence: record.sequence,
        erases: record.erases,
        other_erases: record.other_erases,
    };
    let mut header = record.emit();
    match kind >> 4 {
        0..4 => return None,
        4..7 => header = tombstone.emit(),
        // Another version, another kind.
        7 => header[4] = len as u8,
        8 => header[6] = len as u8,
        _ => {}
    }
    let crc = checksum(&header[..44]).to_le_bytes();
    header[44..].copy_from_slice(&crc);
    Some(header)
}

/// Any operations, cut anywhere: after each one what a boot finds is what a model in RAM says.
pub fn operations(data: &[u8]) {
    let mut data = Bytes(data);
    let kind = data.byte();
    let ecc = kind & 1 == 1;
    match kind / 2 % 5 {
        0 => operations_on(MockFlash::<1, 4, 128>::new(4), ecc, data),
        1 => operations_on(MockFlash::<1, 1, 128>::new(2), ecc, data),
        2 => operations_on(MockFlash::<8, 8, 64>::new(8), ecc, data),
        3 => operations_on(MockFlash::<4, 16, 256>::new(2), ecc, data),
        _ => operations_on(MockFlash::<32, 32, 128>::new(4), ecc, data),
    }
}

fn operations_on<const R: usize, const W: usize, const E: usize>(
    mut flash: MockFlash<R, W, E>,
    ecc: bool,
    mut data: Bytes<'_>,
) {
    flash.ecc = ecc;
    let capacity = open(&mut flash).capacity();
    let second = flash.erases.len() / 2;
    let mut current: Option<Vec<u8>> = None;
    let mut cuts = 0;
    let mut n = 0;
    while !data.0.is_empty() {
        n += 1;
        let (choice, len) = (data.byte(), usize::from(data.byte()));
        let tail = payload(n, len % (capacity - 1));
        match choice % 8 {
            act @ 0..5 => {
                let act = Act::ALL[usize::from(act) % 4];
                let cut = choice & 0x80 == 0;
                if cut {
                    let after = u64::from(data.byte());
                    let torn = match choice >> 3 & 3 {
                        0 => Torn::Untouched,
                        1 => Torn::Half,
                        2 => Torn::Noise(u64::from(data.word())),
                        _ => Torn::Done,
                    };
                    flash.cut = Some(Cut { after, torn });
                }
                let done = act.run(&mut flash, &tail);
                flash.boot();
                let new = act.leaves(&tail);
                if done.is_ok() || find(&flash).map(|(tail, _)| tail).ok() == new {
                    current = new;
                }
                cuts += u32::from(done.is_err());
                assert!(cut || done.is_ok(), "{act:?} {done:?}");
                if let (Ok(()), Ok((_, recovery))) = (done, find(&flash)) {
                    assert_eq!(recovery, Recovery::Newest);
                }
            }
            5 => match &current {
                Some(tail) => {
                    let bytes = read_export(&mut flash, len + 1);
                    assert_eq!(&export::parse(&bytes).unwrap().payload, tail);
                }
                None => assert!(open(&mut flash).export(&MODEL).is_err()),
            },
            6 => {
                let mut store = open(&mut flash);
                let found = MODEL;
                let error = store.import(&OTHER, &exported(&tail));
                assert_eq!(error, Err(StoreError::WrongModel { found }));
                let wrong = matches!(store.locate(&OTHER), Err(StoreError::WrongModel { .. }));
                assert_eq!(wrong, current.is_some());
            }
            _ => {
                let mut store = open(&mut flash);
                let needed = capacity + 1 + len;
                let full = StoreError::Full { needed, capacity };
                assert_eq!(store.save(&MODEL, &vec![1; needed]), Err(full));
                assert_eq!(store.import(&MODEL, &exported(&vec![1; needed])), Err(full));
            }
        }
        assert_eq!(found(&flash).ok(), current);
        // The counts are the truth where nothing was cut. A save that is cut is not counted; a tombstone
        // counts the erase that follows it, and a cut may come between.
        let wear = open(&mut flash).wear();
        for (known, block) in wear.into_iter().zip([0, second]) {
            let (known, truth) = (known.unwrap_or_default(), flash.erases[block]);
            assert!(known <= truth + cuts && (cuts > 0 || known == truth));
        }
    }
}

/// Reads an export through a buffer of `step` bytes.
pub fn read_export<const R: usize, const W: usize, const E: usize>(
    flash: &mut MockFlash<R, W, E>,
    step: usize,
) -> Vec<u8> {
    let mut store = open(flash);
    let mut export = store.export(&MODEL).unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; step]);
    loop {
        let count = export.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..count]);
        if count == 0 {
            assert_eq!(bytes.len(), export.total());
            return bytes;
        }
    }
}
