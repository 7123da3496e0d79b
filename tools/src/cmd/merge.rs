//! `tailtune merge`: an adapted tail and its image → a new image, or float layers.

use super::tail::{at, read};
use super::terminal::{kib, print, print_json};
use super::{CommandError, wrong_call};
use crate::board;
use crate::export::{write_tensors, write_whole};
use crate::flash::slots::{self, hex};
use crate::image_writer::AlignedBytes;
use crate::int8::Int8Model;
use crate::merge::Merge as Merged;
use crate::output::{Placement, write_image};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Merge an adapted tail into its image
///
/// The head is quantized as the image's was; a tuned block takes the image's place; added classes become
/// the model's own. As safetensors: what the tail changes, in float, with a config.json.
#[derive(Debug, Args)]
pub struct Merge {
    /// The image that was on the device
    image: PathBuf,
    /// A tail of `tailtune tail read`
    tail: PathBuf,
    /// What to write: an image (.bin, .hex, .uf2, .elf), or a directory for safetensors
    #[arg(short, long, value_name = "NEW")]
    output: PathBuf,
    /// image or safetensors
    #[arg(long, default_value = "image", value_name = "FORMAT")]
    format: Format,
    /// Print one JSON object: format, method, labels[], model_id, same_model (whether tails of the old
    /// image stay valid), image_bytes; of safetensors: tensors[] with name, shape
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Image,
    Safetensors,
}

impl Merge {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let model = Int8Model::read(&self.image)?;
        let bytes = read(&self.tail)?;
        let exported = slots::parse(&bytes).map_err(|e| at(&self.tail, &e))?;
        let payload = AlignedBytes::new(exported.payload);
        let merged = Merged::new(model.image(), &exported, &payload);
        let merged = merged.map_err(|e| at(&self.tail, &e))?;
        match self.format {
            Format::Image => self.image(&model, &merged),
            Format::Safetensors => self.float(&merged),
        }
    }

    fn image(&self, model: &Int8Model, merged: &Merged<'_>) -> Result<(), CommandError> {
        let image = model.image();
        let lines = image.provenance().lines();
        let name = lines.filter_map(|l| l.strip_prefix("board=")).next_back();
        let place = match name.map(board::find) {
            Some(Ok(board)) => Placement {
                address: board.regions.model.address,
                capacity: board.regions.model.bytes as usize,
                uf2_family: board.uf2_family,
                board: board.name,
            },
            // Raw bytes need no address.
            _ if self.output.extension().is_some_and(|e| e == "bin") => Placement {
                board: "none".into(),
                address: 0,
                capacity: usize::MAX,
                uf2_family: None,
            },
            _ => {
                let name = name.unwrap_or("none");
                return Err(wrong_call(format!(
                    "{}: made for board {name:?}, which is not known, so its address is not either; write a .bin",
                    self.image.display()
                )));
            }
        };
        place.takes(&self.output).map_err(wrong_call)?;
        let new = Int8Model::new(merged.image().map_err(|e| at(&self.tail, &e))?)?;
        write_image(&self.output, new.bytes(), &place)?;
        let (old, id) = (image.model_id().0, new.image().model_id().0);
        if self.json {
            return print_json(&json!({
                "format": "image", "method": merged.method(), "labels": merged.labels(),
                "model_id": hex(&id), "same_model": old == id, "image_bytes": new.bytes().len(),
            }));
        }
        print(&format!(
            "{}: {} bytes ({}), {} classes, model {}",
            self.output.display(),
            new.bytes().len(),
            kib(new.bytes().len()),
            merged.labels().len(),
            hex(&id)
        ))?;
        print(if old == id {
            "trunk and classes are the old image's, and so is the model id: a tail that a device holds still counts"
        } else {
            "a new model: tails of the old image do not count with it"
        })
    }

    fn float(&self, merged: &Merged<'_>) -> Result<(), CommandError> {
        let (config, tensors) = merged.float().map_err(|e| at(&self.tail, &e))?;
        let all: Vec<_> = tensors.iter().collect();
        write_whole(
            &self.output.join("config.json"),
            &serde_json::to_vec_pretty(&config)?,
        )?;
        write_tensors(&self.output.join("model.safetensors"), &all)?;
        let listed = tensors.iter();
        let listed: Vec<Value> = listed
            .map(|t| json!({ "name": t.name, "shape": t.shape }))
            .collect();
        if self.json {
            return print_json(&json!({
                "format": "safetensors", "method": merged.method(), "labels": merged.labels(),
                "model_id": config["model_id"], "tensors": listed,
            }));
        }
        print(&format!(
            "{}: {} tensors in float, {} classes",
            self.output.display(),
            tensors.len(),
            merged.labels().len()
        ))
    }
}
