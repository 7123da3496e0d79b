//! `tailtune inspect`: what an image holds.

use super::CommandError;
use super::terminal::{kib, print, print_json, table};
use crate::int8::Int8Model;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tailtune::image::{CRC_OFFSET, FORMAT_MAJOR, FrontEndTables, Image, NO_LAYER};
use tailtune::model::ArenaPlan;
use tailtune::text::Tokenizer;

/// Print an image's configuration, tensors, sizes, checksum and labels
#[derive(Debug, Args)]
pub struct Inspect {
    /// The image, as `convert` writes it with the extension .bin
    image: PathBuf,
    /// Print one JSON object with keys format, image_bytes, crc32, model_id, config, arena_bytes,
    /// labels, provenance, front_end, tokenizer, target_tokenizer (null where there is none), tensors
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let model = Int8Model::read(&self.image)?;
        let image = model.image();
        if self.json {
            print_json(&as_json(&image))
        } else {
            as_text(&image)
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn crc(image: &Image<'_>) -> u32 {
    let bytes = image.bytes().get(CRC_OFFSET..CRC_OFFSET + 4);
    bytes
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn layer_of(layer: u16) -> Option<u16> {
    (layer != NO_LAYER).then_some(layer)
}

fn as_json(image: &Image<'_>) -> serde_json::Value {
    let tensors = image.tensors().map(|(spec, tensor)| {
        let entry = tensor.entry();
        json!({
            "name": spec.kind.name(),
            "layer": layer_of(spec.layer),
            "dtype": format!("{:?}", spec.kind.data_type()).to_lowercase(),
            "shape": [spec.rows, spec.cols],
            "offset": entry.offset.get(),
            "bytes": entry.len.get(),
            "packing": entry.packing,
            "shift": entry.shift,
            "pre_shift": entry.pre_shift,
            "zero_point": entry.zero_point,
            "scale": entry.scale.get(),
        })
    });
    json!({
        "format": format!("{FORMAT_MAJOR}.{}", image.format_minor()),
        "image_bytes": image.bytes().len(),
        "crc32": format!("{:08x}", crc(image)),
        "model_id": hex(&image.model_id().0),
        "config": config_json(image),
        "arena_bytes": ArenaPlan::new(image.config()).total(),
        "labels": image.labels().iter().collect::<Vec<_>>(),
        "provenance": image.provenance(),
        "front_end": image.front_end().map(|f| front_end_json(&f)),
        "tokenizer": tokenizer_json(image.tokenizer()),
        "target_tokenizer": tokenizer_json(image.target_tokenizer()),
        "tensors": tensors.collect::<Vec<_>>(),
    })
}

fn tokenizer_json(section: &[u8]) -> Option<serde_json::Value> {
    if section.is_empty() {
        return None;
    }
    Some(match Tokenizer::parse(section) {
        Ok(t) => json!({
            "model": t.model_name(), "vocab_size": t.vocab_size(), "bytes": section.len(),
            "workspace_words": t.workspace_len(),
        }),
        Err(e) => json!({ "bytes": section.len(), "error": e.to_string() }),
    })
}

/// Describes a tokenizer, if there is one.
fn print_tokenizer(name: &str, section: &[u8]) -> Result<(), CommandError> {
    if section.is_empty() {
        return Ok(());
    }
    match Tokenizer::parse(section) {
        Ok(t) => print(&format!(
            "{name} {}, {} ids, {} bytes; workspace {} words",
            t.model_name(),
            t.vocab_size(),
            section.len(),
            t.workspace_len()
        )),
        Err(e) => print(&format!("{name} {} bytes: {e}", section.len())),
    }
}

fn front_end_json(tables: &FrontEndTables<'_>) -> serde_json::Value {
    json!({
        "kind": format!("{:?}", tables.kind()), "sample_rate": tables.sample_rate(),
        "clip_len": tables.clip_len(), "window_len": tables.window_len(),
        "hop_len": tables.hop_len(), "fft_len": tables.fft_len(),
        "mel_bins": tables.mel_bins(), "n_features": tables.n_features(),
        "floor": tables.floor(), "bytes": tables.bytes().len(),
    })
}

fn config_json(image: &Image<'_>) -> serde_json::Value {
    let c = image.config();
    json!({
        "n_layers": c.n_layers, "d_model": c.d_model, "n_heads": c.n_heads, "d_ff": c.d_ff,
        "seq_len": c.seq_len, "n_classes": c.n_classes, "input": format!("{:?}", c.input),
        "class_token": c.class_token, "norm": format!("{:?}", c.norm),
        "activation": format!("{:?}", c.activation), "pooling": format!("{:?}", c.pooling),
        "embed_norm": c.embed_norm, "final_norm": c.final_norm,
        "embedding_rank": c.embedding_rank, "pooler": c.pooler,
    })
}

fn as_text(image: &Image<'_>) -> Result<(), CommandError> {
    let c = image.config();
    print(&format!(
        "format       {FORMAT_MAJOR}.{}",
        image.format_minor()
    ))?;
    print(&format!(
        "image        {} bytes ({})",
        image.bytes().len(),
        kib(image.bytes().len())
    ))?;
    print(&format!("CRC-32       {:08x}, right", crc(image)))?;
    print(&format!("model id     {}", hex(&image.model_id().0)))?;
    print(&format!(
        "encoder      {} blocks, d_model {}, {} heads, d_ff {}, seq_len {}, {:?}-norm, {:?}, {:?} pooling",
        c.n_layers, c.d_model, c.n_heads, c.d_ff, c.seq_len, c.norm, c.activation, c.pooling
    ))?;
    print(&format!("input        {:?}", c.input))?;
    if c.embedding_rank > 0 {
        print(&format!(
            "token table  factorised, rank {}",
            c.embedding_rank
        ))?;
    }
    if c.pooler {
        print("pooler       a linear layer and an activation before the head")?;
    }
    print(&format!("arena        {} bytes", ArenaPlan::new(c).total()))?;
    let labels: Vec<&str> = image.labels().iter().collect();
    print(&format!("labels       {}", labels.join(", ")))?;
    if let Some(f) = image.front_end() {
        print(&format!(
            "front end    {:?}, {} Hz, {} samples every {}, {} features of {} mel bands, {} bytes of tables",
            f.kind(),
            f.sample_rate(),
            f.window_len(),
            f.hop_len(),
            f.n_features(),
            f.mel_bins(),
            f.bytes().len()
        ))?;
    }
    print_tokenizer("tokenizer   ", image.tokenizer())?;
    print_tokenizer("target      ", image.target_tokenizer())?;
    for line in image.provenance().lines() {
        print(&format!("provenance   {line}"))?;
    }
    let mut tensors = table(&[
        "tensor", "block", "type", "shape", "offset", "bytes", "scale", "zero",
    ]);
    for (spec, tensor) in image.tensors() {
        let entry = tensor.entry();
        let scale = entry.scale.get();
        tensors.add_row([
            spec.kind.name().to_owned(),
            layer_of(spec.layer).map_or(String::new(), |l| l.to_string()),
            format!("{:?}", spec.kind.data_type()).to_lowercase(),
            format!("{}×{}", spec.rows, spec.cols),
            entry.offset.get().to_string(),
            entry.len.get().to_string(),
            if scale == 0.0 {
                String::new()
            } else {
                format!("{scale:.6}")
            },
            entry.zero_point.to_string(),
        ]);
    }
    print(&tensors.to_string())
}
