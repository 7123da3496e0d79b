//! Plans, and what they do to a device.

use super::*;
use crate::flash::plan::{Asked, Plan, PlanError};
use crate::flash::write::{WriteError, write};
use crate::int8::Int8Model;
use crate::output::{Placement, write_image};
use crate::synthetic;
use std::path::{Path, PathBuf};
use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};

const CONFIG: ModelConfig = ModelConfig {
    n_layers: 1,
    d_model: 16,
    n_heads: 2,
    d_ff: 24,
    seq_len: 9,
    n_classes: 4,
    input: InputKind::Frames {
        n_frames: 8,
        n_features: 5,
    },
    class_token: true,
    norm: NormOrder::Post,
    activation: Activation::Gelu,
    pooling: Pooling::ClassToken,
    embed_norm: false,
    final_norm: false,
    embedding_rank: 0,
    pooler: false,
    decoder: None,
};

fn image(board: &str) -> Vec<u8> {
    let float = synthetic::model(&CONFIG, 3);
    let mut quantized = synthetic::quantized(&float, 40, 3).unwrap();
    quantized.writer.provenance("board", board);
    let int8 = Int8Model::new(quantized.writer.finish().unwrap()).unwrap();
    int8.bytes().to_vec()
}

fn placed(dir: &Path, name: &str, image: &[u8], board: &Board) -> PathBuf {
    let path = dir.join(name);
    let place = Placement {
        board: board.name.clone(),
        address: board.regions.model.address,
        capacity: usize::MAX,
        uf2_family: None,
    };
    write_image(&path, image, &place).unwrap();
    path
}

/// Intel HEX of a vector table and code at two places.
fn firmware(dir: &Path, name: &str, pieces: &[(u32, Vec<u8>)]) -> PathBuf {
    let mut records = Vec::new();
    for (address, bytes) in pieces {
        for (i, chunk) in bytes.chunks(16).enumerate() {
            let at = address + 16 * i as u32;
            records.push(ihex::Record::ExtendedLinearAddress((at >> 16) as u16));
            records.push(ihex::Record::Data {
                offset: at as u16,
                value: chunk.to_vec(),
            });
        }
    }
    records.push(ihex::Record::EndOfFile);
    let text = ihex::create_object_file_representation(&records).unwrap();
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn vectors(stack: u32, reset: u32) -> Vec<u8> {
    let mut table = vec![0x11; 256];
    table[..4].copy_from_slice(&stack.to_le_bytes());
    table[4..8].copy_from_slice(&reset.to_le_bytes());
    table
}

fn flash(device: &mut Fake, board: &Board, plan: &Plan) -> Result<(), WriteError> {
    write(device, board, plan, true, &mut |_, _, _| {})
}

fn said(path: &Path, board: &Board) -> String {
    let error = Plan::new(path, board, Asked::default()).unwrap_err();
    error.to_string()
}

#[test]
fn an_image_goes_to_its_region_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    for board in [stm32(), nrf()] {
        let image = image(&board.name);
        for name in ["m.bin", "m.hex", "m.uf2", "m.elf"] {
            let path = placed(dir.path(), name, &image, &board);
            let plan = Plan::new(&path, &board, Asked::default()).unwrap();
            assert_eq!((plan.content, plan.bytes()), ("image", image.len()));
            let mut device = Fake::new(&board);
            device.bytes.fill(0x5a);
            let before = device.clone();
            flash(&mut device, &board, &plan).unwrap();
            let model = board.regions.model.range();
            let end = model.start + image.len() as u32;
            assert_eq!(device.at(model.start..end), image, "{name}");
            // Sectors that it does not reach are as they were.
            let touched = plan.sectors().last().unwrap().end;
            assert!(device.at(end..touched).iter().all(|b| *b == 0xff));
            for range in [
                device.base..model.start,
                touched..device.base + device.bytes.len() as u32,
            ] {
                assert!(device.at(range.clone()) == before.at(range));
            }
            let starts: Vec<u32> = plan.sectors().iter().map(|s| s.start).collect();
            assert_eq!(device.log.erased, starts);
            assert_eq!((device.log.resets, device.log.chip_erases), (1, 0));
        }
    }
}

#[test]
fn a_firmware_goes_to_vectors_and_code_and_keeps_the_tails() {
    let dir = tempfile::tempdir().unwrap();
    let board = stm32();
    let code = board.regions.code.address;
    let table = vectors(0x2000_2000, code + 0x101);
    let pieces = [(0x0800_0000, table), (code, vec![0x42; 3000])];
    let path = firmware(dir.path(), "f.hex", &pieces);
    let plan = Plan::new(&path, &board, Asked::default()).unwrap();
    assert_eq!(plan.content, "firmware");
    let regions: Vec<&str> = plan.planned.iter().map(|p| p.region).collect();
    assert_eq!(regions, ["vectors", "code"]);
    let mut device = Fake::new(&board);
    device.bytes.fill(0x5a);
    flash(&mut device, &board, &plan).unwrap();
    assert_eq!(device.log.erased, [0x0800_0000, code]);
    for (address, bytes) in &pieces {
        assert_eq!(device.at(*address..*address + bytes.len() as u32), bytes);
    }
    for slot in &board.regions.tails {
        assert!(device.at(slot.range()).iter().all(|b| *b == 0x5a));
    }
}

#[test]
fn refusals_name_what_was_found_and_what_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let board = stm32();
    let code = board.regions.code.address;
    let good = vectors(0x2000_2000, code + 1);
    let fw = |name: &str, pieces: &[(u32, Vec<u8>)]| firmware(dir.path(), name, pieces);
    let slot = board.regions.tails[0].address;
    let cases = [
        (
            placed(dir.path(), "a.bin", &image("other"), &board),
            "made for board other, not for board fake; make it with `tailtune convert --board fake`",
        ),
        (
            placed(dir.path(), "b.hex", &image("fake"), &nrf()),
            "the address 0x28000, where regions.model is at 0x8020000",
        ),
        (
            placed(dir.path(), "c.bin", &image("fake")[..2000], &board),
            "c.bin: ",
        ),
        (
            fw("d.hex", &[(0x0800_0000, good.clone()), (slot, vec![1; 8])]),
            "data at 0x8004000..0x8004008 lies in regions.tails[0] (0x8004000..0x8008000)",
        ),
        (
            fw(
                "e.hex",
                &[(0x0800_0000, good.clone()), (0x0802_0000, vec![1; 8])],
            ),
            "regions.model",
        ),
        (
            fw("f.hex", &[(0x1000_1000, vec![1; 8])]),
            "no region of its flash; a firmware of board fake may touch regions.code",
        ),
        (
            fw("g.hex", &[(code, vec![1; 8])]),
            "no vector table at 0x8000000",
        ),
        (
            fw("h.hex", &[(0x0800_0000, vectors(0x2800_0000, code + 1))]),
            "an initial stack pointer of 0x28000000, board fake needs one in the RAM of fake, 0x20000000",
        ),
        (
            fw("i.hex", &[(0x0800_0000, vectors(0x2000_2000, 0x101))]),
            "a reset handler at 0x101",
        ),
    ];
    for (path, expected) in &cases {
        let found = said(path, &board);
        assert!(found.contains(expected), "{expected:?} is not in: {found}");
        assert!(found.starts_with(&path.display().to_string()), "{found}");
    }
    let raw = dir.path().join("raw.bin");
    std::fs::write(&raw, [1; 100]).unwrap();
    assert!(said(&raw, &board).contains("give a firmware as ELF or Intel HEX"));
    let emulated = crate::board::find("qemu-mps2-an386").unwrap();
    assert!(said(&raw, &emulated).contains("is emulated: there is no chip to flash"));
    let asked = Asked {
        chip_erase: true,
        ..Asked::default()
    };
    let refused = Plan::new(&raw, &board, asked);
    assert!(matches!(refused, Err(PlanError::ChipEraseKeepsNothing)));
}

#[test]
fn an_image_that_is_too_large_says_by_how_much() {
    let dir = tempfile::tempdir().unwrap();
    let mut board = stm32();
    board.regions.model.bytes = 0x1000;
    let image = image("fake");
    let path = placed(dir.path(), "a.bin", &image, &board);
    let found = said(&path, &board);
    let expected = format!(
        "has {} bytes, regions.model of board fake holds 4096",
        image.len()
    );
    assert!(found.contains(&expected), "{found}");
}

#[test]
fn a_pulled_cable_is_an_error_and_the_same_call_repairs_it() {
    let dir = tempfile::tempdir().unwrap();
    let board = stm32();
    let image = image(&board.name);
    let path = placed(dir.path(), "m.bin", &image, &board);
    let plan = Plan::new(&path, &board, Asked::default()).unwrap();
    let start = board.regions.model.address;
    let mut operations = 0;
    loop {
        let mut device = Fake::new(&board);
        device.bytes.fill(0x5a);
        device.fuel = Some(operations);
        match flash(&mut device, &board, &plan) {
            Ok(()) => break,
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains("run the same command again"), "{said}");
            }
        }
        device.fuel = None;
        flash(&mut device, &board, &plan).unwrap();
        assert_eq!(device.at(start..start + image.len() as u32), image);
        operations += 1;
    }
    // One sector, its pages, the reset.
    assert_eq!(operations, 1 + image.len().div_ceil(PAGE) + 1);
}

#[test]
fn a_stuck_byte_is_named_with_its_address() {
    let dir = tempfile::tempdir().unwrap();
    let board = stm32();
    let image = image(&board.name);
    let path = placed(dir.path(), "m.bin", &image, &board);
    let plan = Plan::new(&path, &board, Asked::default()).unwrap();
    let at = image.iter().rposition(|b| *b != 0xff).unwrap();
    let mut device = Fake::new(&board);
    let address = board.regions.model.address + at as u32;
    device.stuck = Some(address);
    let error = flash(&mut device, &board, &plan).unwrap_err().to_string();
    let expected = format!(
        "0xff was read back at {address:#x}, {:#04x} was written",
        image[at]
    );
    assert!(error.contains(&expected), "{error}");
    assert_eq!(device.log.resets, 0, "what is wrong is not started");
    write(&mut device, &board, &plan, false, &mut |_, _, _| {}).unwrap();
}

#[test]
fn sectors_that_are_not_the_boards_are_refused_before_anything_is_erased() {
    let dir = tempfile::tempdir().unwrap();
    let board = nrf();
    let path = placed(dir.path(), "m.bin", &image(&board.name), &board);
    let plan = Plan::new(&path, &board, Asked::default()).unwrap();
    let mut device = Fake::new(&board);
    // Twice as large as the board's, and so across the border of the region.
    let blocks = (0..128).map(|i| i * 0x2000 + 0x1000..(i + 1) * 0x2000 + 0x1000);
    device.blocks = blocks.collect();
    let error = flash(&mut device, &board, &plan).unwrap_err();
    assert!(matches!(error, WriteError::Sectors { .. }), "{error}");
    assert_eq!(device.log, Log::default());
    // Smaller ones are as good: the same bytes go.
    device.blocks = (0..2048).map(|i| i * 0x200..(i + 1) * 0x200).collect();
    flash(&mut device, &board, &plan).unwrap();
}

#[test]
fn tails_go_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let board = stm32();
    let path = placed(dir.path(), "m.bin", &image(&board.name), &board);
    for (erase_tails, chip_erase) in [(true, false), (true, true)] {
        let asked = Asked {
            erase_tails,
            chip_erase,
        };
        let plan = Plan::new(&path, &board, asked).unwrap();
        let mut device = Fake::new(&board);
        device.bytes.fill(0x5a);
        flash(&mut device, &board, &plan).unwrap();
        assert_eq!(device.log.chip_erases, usize::from(chip_erase));
        for slot in &board.regions.tails {
            let kept = device.at(slot.range()).iter().filter(|b| **b == 0x5a);
            // A tombstone may hold such a byte; the garbage is gone.
            assert!(kept.count() < 48);
        }
    }
}
