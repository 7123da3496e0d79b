//! Which methods of tuning a board has room for, in a few words.

use super::super::terminal::kib;
use super::converted_bytes;
use super::needs::{fits, needs, ram_lack};
use super::tuning::TuneArgs;
use crate::board::Board;
use crate::cmd::CommandError;
use crate::float_model::FloatModel;
use crate::text::section::Sections;
use tailtune::image::ModelConfig;
use tailtune::tune::MethodId;

/// As [`of_image`], of a model that is still to be converted.
pub fn of_model(
    model: &FloatModel,
    sections: &Sections,
    board: &Board,
) -> Result<String, CommandError> {
    let bytes = converted_bytes(model, sections, std::slice::from_ref(board))?;
    Ok(of_image(&model.config, bytes, board))
}

/// Returns the methods that fit with the defaults of `plan --tune`: those of a block with their samples in
/// flash, and only where the board's firmware has them; a head's with as many samples in RAM as fit, at least
/// one a class. Or what is lacking.
pub fn of_image(config: &ModelConfig, image_bytes: usize, board: &Board) -> String {
    let region = board.regions.model.bytes as usize;
    if image_bytes > region {
        return format!("no: the image is {} too large", kib(image_bytes - region));
    }
    let mut methods = Vec::new();
    let mut least = usize::MAX;
    for method in MethodId::ALL {
        let below = method.below_the_block();
        if below && board.is_heads_only() {
            continue;
        }
        let asked = TuneArgs::of(method, below);
        let Ok(plan) = asked.plan(config, board) else {
            continue;
        };
        let needs = needs(config, image_bytes, plan, asked.samples(config, true), true);
        least = least.min(ram_lack(&needs, board));
        if fits(&needs, board) {
            methods.push(method.name());
        }
    }
    match methods.len() {
        0 => format!("no: RAM lacks {}", kib(least)),
        n if n == MethodId::ALL.len() => "all".into(),
        _ => methods.join(", "),
    }
}
