//! Real-Time Transfer: finds the control block in RAM and takes what the firmware wrote.

use crate::board::Board;
use crate::mem::Kind;

const ID: &[u8; 16] = b"SEGGER RTT\0\0\0\0\0\0";

/// Takes the bytes that wait in up channel 0, as a debugger does. Empty if there is no control block
/// or nothing new.
///
/// RAM may hold copies of the block: a flash algorithm leaves its page buffers behind, and one of them
/// held the values that statics begin with. Nobody writes to a copy, so the block is the one with bytes.
pub fn take(board: &mut Board, block: &mut Option<u32>) -> Vec<u8> {
    // After a reset the block is gone until the firmware writes it again.
    *block = block.filter(|at| is_block(board, *at));
    let blocks = match *block {
        Some(at) => vec![at],
        None => find(board),
    };
    for at in blocks {
        let bytes = read(board, at).unwrap_or_default();
        if !bytes.is_empty() {
            *block = Some(at);
            return bytes;
        }
    }
    Vec::new()
}

fn is_block(board: &Board, at: u32) -> bool {
    let mut id = [0; 16];
    board.map.read(at, &mut id) && &id == ID && board.map.word(at + 16) != Some(0)
}

fn read(board: &mut Board, at: u32) -> Option<Vec<u8>> {
    let word = |offset: u32| board.map.word(at + offset);
    let (buffer, size) = (word(28)?, word(32)?);
    let (write, read) = (word(36)?, word(40)?);
    if write >= size || read >= size {
        return None;
    }
    let mut bytes = Vec::new();
    let ranges = if write >= read {
        [(read, write), (0, 0)]
    } else {
        [(read, size), (0, write)]
    };
    for (from, to) in ranges {
        let mut part = vec![0; (to - from) as usize];
        board.map.read(buffer + from, &mut part);
        bytes.extend(part);
    }
    board.map.write_ram(at + 40, &write.to_le_bytes());
    Some(bytes)
}

/// The control block and its copies.
fn find(board: &Board) -> Vec<u32> {
    let rams = board.map.regions.iter().filter(|r| r.kind == Kind::Ram);
    let blocks = rams.flat_map(|r| {
        let mut bytes = vec![0; r.len as usize];
        r.mem.read(0, &mut bytes);
        let offsets = (0..bytes.len().saturating_sub(ID.len())).step_by(4);
        let found: Vec<usize> = offsets.filter(|&i| bytes[i..].starts_with(ID)).collect();
        found.into_iter().map(|offset| r.base + offset as u32)
    });
    blocks.filter(|at| is_block(board, *at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip;

    #[test]
    fn a_copy_of_the_block_is_not_taken_for_it() {
        let mut board = Board::new(chip::by_name("nrf51822").expect("a chip"), None);
        let (copy, block, buffer) = (0x2000_0100, 0x2000_0800, 0x2000_1000);
        for at in [copy, block] {
            board.map.write_ram(at, ID);
            // One channel up, none down; its name, its buffer of 8 bytes, nothing written or read.
            for (i, word) in [1, 0, 0, buffer, 8, 0, 0].into_iter().enumerate() {
                board
                    .map
                    .write_ram(at + 16 + 4 * i as u32, &u32::to_le_bytes(word));
            }
        }
        let mut found = None;
        assert_eq!(take(&mut board, &mut found), []);
        board.map.write_ram(buffer, b"log");
        board.map.write_ram(block + 36, &3u32.to_le_bytes());
        assert_eq!(take(&mut board, &mut found), b"log");
        assert_eq!(found, Some(block));
        assert_eq!(take(&mut board, &mut found), [], "taken");
        board.map.write_ram(block, &[0]);
        assert_eq!(take(&mut board, &mut found), []);
        assert_eq!(found, None, "it is gone");
    }
}
