//! Real-Time Transfer: finds the control block in RAM and takes what the firmware wrote.

use crate::board::Board;
use crate::mem::Kind;

const ID: &[u8; 16] = b"SEGGER RTT\0\0\0\0\0\0";

/// Takes the bytes that wait in up channel 0, as a debugger does. Empty if there is no control block
/// or nothing new.
pub fn take(board: &mut Board, block: &mut Option<u32>) -> Vec<u8> {
    read(board, block).unwrap_or_default()
}

fn read(board: &mut Board, block: &mut Option<u32>) -> Option<Vec<u8>> {
    let at = match *block {
        Some(at) => at,
        None => find(board)?,
    };
    let word = |offset: u32| board.map.word(at + offset);
    // After a reset the block is gone until the firmware writes it again.
    let mut id = [0; 16];
    if !board.map.read(at, &mut id) || &id != ID || word(16)? == 0 {
        *block = None;
        return None;
    }
    *block = Some(at);
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

fn find(board: &Board) -> Option<u32> {
    board
        .map
        .regions
        .iter()
        .filter(|r| r.kind == Kind::Ram)
        .find_map(|r| {
            let mut bytes = vec![0; r.len as usize];
            r.mem.read(0, &mut bytes);
            let offset = (0..bytes.len().saturating_sub(ID.len()))
                .step_by(4)
                .find(|&i| bytes[i..].starts_with(ID))?;
            Some(r.base + offset as u32)
        })
}
