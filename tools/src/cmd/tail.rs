//! `tailtune tail`: adapted tails out of a device and back.

use super::CommandError;
use super::flash::tails;
use super::on_probe::OnProbe;
use super::terminal::{print, print_json};
use crate::flash::slots::{self, hex};
use crate::image_writer::AlignedBytes;
use crate::output::write_whole;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};
use tailtune::store::Recovery;
use tailtune::store::export::Exported;
use tailtune::tune::{HeadOrigin, Tail as Parsed};

/// Fetch adapted tails from a device, put them back, erase them, look at them
#[derive(Debug, Args)]
pub struct Tail {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Read(Read),
    Write(Write),
    Erase(Erase),
    Show(Show),
}

/// Read the newest sound tail of a device into a file
///
/// That of the model whose image the device holds; where there is none, the newest of any model. The file
/// is what the runtime's `Store::export` gives and `Store::import` takes.
#[derive(Debug, Args)]
struct Read {
    #[command(flatten)]
    on: OnProbe,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print one JSON object: slot, sequence, recovery (newest, previous-after-torn-save or null), image
    /// (the device's model id, null without an image), and the keys of `tail show`
    #[arg(long)]
    json: bool,
}

/// Save an exported tail on a device, in the slot that does not count
///
/// As the device itself saves: a cut leaves the tail that was there. Refused where the device holds the
/// image of another model.
#[derive(Debug, Args)]
struct Write {
    /// An exported tail
    file: PathBuf,
    #[command(flatten)]
    on: OnProbe,
    /// Print one JSON object: slot, sequence, erases, and the keys of `tail show`
    #[arg(long)]
    json: bool,
}

/// Forget all tails of a device: the runtime's factory reset
#[derive(Debug, Args)]
struct Erase {
    #[command(flatten)]
    on: OnProbe,
    /// Print one JSON object: board, erased
    #[arg(long)]
    json: bool,
}

/// Print what an exported tail holds
#[derive(Debug, Args)]
struct Show {
    /// An exported tail
    file: PathBuf,
    /// Print one JSON object: model_id, bytes, method, math, d_model, classes, model_classes, added[],
    /// block_bytes, sequence, slot_erases
    #[arg(long)]
    json: bool,
}

impl Tail {
    pub(super) fn run(self) -> Result<(), CommandError> {
        match self.what {
            What::Read(c) => c.run(),
            What::Write(c) => c.run(),
            What::Erase(c) => c.run(),
            What::Show(c) => c.run(),
        }
    }
}

impl Read {
    fn run(self) -> Result<(), CommandError> {
        let found = self
            .on
            .with(|device| Ok(slots::read(device, &self.on.board)?))?;
        write_whole(&self.output, &found.export)?;
        let exported = slots::parse(&found.export)?;
        match found.image {
            Some(image) if image != found.model_id => eprintln!(
                "note: the device holds the image of model {}, this tail is of model {}",
                hex(&image),
                hex(&found.model_id)
            ),
            None => {
                eprintln!("note: the device holds no image; this is the newest tail of any model")
            }
            Some(_) => {}
        }
        let torn = found.recovery == Some(Recovery::PreviousAfterTornSave);
        if self.json {
            let mut value = as_json(&exported);
            value["slot"] = json!(found.saved.slot);
            value["recovery"] = json!(found.recovery.map(|_| {
                if torn {
                    "previous-after-torn-save"
                } else {
                    "newest"
                }
            }));
            value["image"] = json!(found.image.as_ref().map(hex));
            return print_json(&value);
        }
        let torn = if torn {
            "; a later save was cut short"
        } else {
            ""
        };
        print(&format!(
            "{}: tail {} of slot {}{torn}",
            self.output.display(),
            found.saved.sequence,
            found.saved.slot
        ))?;
        as_text(&exported)
    }
}

impl Write {
    fn run(self) -> Result<(), CommandError> {
        let bytes = read(&self.file)?;
        let exported = slots::parse(&bytes).map_err(|e| at(&self.file, &e))?;
        let saved = {
            let mut device = self.on.attach(false)?;
            let saved = slots::write(&mut *device, &self.on.board, &bytes);
            // A firmware that runs has its tail in RAM: it starts anew.
            let reset = device.reset();
            let saved = saved.map_err(|e| at(&self.file, &e))?;
            reset?;
            saved
        };
        if self.json {
            let mut value = as_json(&exported);
            value["slot"] = json!(saved.slot);
            value["sequence"] = json!(saved.sequence);
            value["erases"] = json!(saved.erases);
            return print_json(&value);
        }
        print(&format!(
            "{}: saved as tail {} in slot {}, erased {} times; read back, reset",
            self.file.display(),
            saved.sequence,
            saved.slot,
            saved.erases
        ))
    }
}

impl Erase {
    fn run(self) -> Result<(), CommandError> {
        let board = &self.on.board;
        let mut device = self.on.attach(false)?;
        let erased = slots::reset(&mut *device, board);
        let reset = device.reset();
        erased?;
        reset?;
        if self.json {
            return print_json(&json!({ "board": board.name, "erased": true }));
        }
        print(&format!(
            "{}: no tail is left in {}",
            board.name,
            tails(board)
        ))
    }
}

impl Show {
    fn run(self) -> Result<(), CommandError> {
        let bytes = read(&self.file)?;
        let exported = slots::parse(&bytes).map_err(|e| at(&self.file, &e))?;
        if self.json {
            return print_json(&as_json(&exported));
        }
        as_text(&exported)
    }
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    std::fs::read(path).map_err(|e| format!("{}: cannot read: {e}", path.display()).into())
}

/// Returns an error with the file in front.
pub fn at(path: &Path, error: &dyn std::error::Error) -> CommandError {
    format!("{}: {error}", path.display()).into()
}

fn as_json(exported: &Exported<'_>) -> serde_json::Value {
    let record = &exported.record;
    let payload = AlignedBytes::new(exported.payload);
    let tail = Parsed::parse(&payload).ok();
    json!({
        "model_id": hex(&record.model_id),
        "bytes": exported.payload.len(),
        "method": tail.map(|t| t.method().name()),
        "math": tail.map(|t| format!("{:?}", t.math()).to_lowercase()),
        "d_model": tail.map(|t| t.d_model()),
        "classes": tail.map(|t| t.classes()),
        "model_classes": tail.map(|t| t.model_classes()),
        "added": tail.map(|t| t.added_names().map(str::to_owned).collect::<Vec<_>>()),
        "block_bytes": tail.map(|t| t.block().len()),
        "sequence": record.sequence,
        "slot_erases": [record.erases, record.other_erases],
    })
}

fn as_text(exported: &Exported<'_>) -> Result<(), CommandError> {
    let record = &exported.record;
    let payload = AlignedBytes::new(exported.payload);
    let tail = Parsed::parse(&payload).map_err(|e| e.to_string())?;
    print(&format!("model id     {}", hex(&record.model_id)))?;
    print(&format!(
        "tail         {} bytes, saved as number {}, CRC-32 {:08x}, right",
        exported.payload.len(),
        record.sequence,
        record.payload_crc
    ))?;
    print(&format!(
        "method       {}, {:?} math",
        tail.method().name(),
        tail.math()
    ))?;
    print(&format!(
        "classes      {} of {} numbers, {} of the image and {} added: {}",
        tail.classes(),
        tail.d_model(),
        tail.model_classes(),
        tail.classes() - tail.model_classes(),
        tail.added_names().collect::<Vec<_>>().join(", ")
    ))?;
    print(&format!(
        "block        {} bytes of tensors",
        tail.block().len()
    ))?;
    print(&format!(
        "wear         this slot was erased {} times, the other {} times",
        record.erases, record.other_erases
    ))
}
