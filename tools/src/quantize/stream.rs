//! The int16 scales of the residual stream.
//!
//! Post-norm: each LayerNorm sets a new scale. Pre-norm: nothing rescales the stream, so one serves.

use super::{Context, QuantizeError};
use crate::reference::Site;
use std::ops::Range;
use tailtune::image::NormOrder;

/// Where the stream of an encoder or a decoder lives.
pub(crate) struct Stream {
    /// After the embedding.
    pub embedded: f64,
    /// One for each block.
    pub blocks: Vec<BlockScales>,
    /// After the last block and the final norm, if any.
    pub last: f64,
}

/// Where a block's sub-layers read and add.
pub(crate) struct BlockScales {
    /// The block's input and its attention sum.
    pub attention: f64,
    /// Cross-attention's input and sum; as the feed-forward's where there is none.
    pub cross: f64,
    /// The feed-forward's input and sum.
    pub feed_forward: f64,
    /// What follows the block.
    pub out: f64,
}

/// Returns the encoder's scales.
pub(crate) fn of_encoder(c: &Context<'_>) -> Result<Stream, QuantizeError> {
    let last = match &c.model.decoder {
        Some(_) => Site::Memory,
        None => Site::Pooled,
    };
    let last = c.model.final_norm.is_some().then_some(last);
    scales(c, Site::Embedded, 0..c.model.layers.len(), false, last)
}

/// Returns the decoder's scales, of `layers` blocks that are counted on after the encoder's.
pub(crate) fn of_decoder(
    c: &Context<'_>,
    layers: usize,
    final_norm: bool,
) -> Result<Stream, QuantizeError> {
    let first = c.model.layers.len();
    let last = final_norm.then_some(Site::OutputInput);
    let cross = c.model.config.has_encoder();
    scales(c, Site::TargetEmbedded, first..first + layers, cross, last)
}

fn scales(
    c: &Context<'_>,
    embedded: Site,
    blocks: Range<usize>,
    cross: bool,
    last: Option<Site>,
) -> Result<Stream, QuantizeError> {
    if c.model.config.norm == NormOrder::Pre {
        let mut sites = vec![embedded];
        for l in blocks.clone() {
            sites.extend([Site::AttnResidual(l), Site::FfResidual(l)]);
            sites.extend(cross.then_some(Site::CrossResidual(l)));
        }
        let scale = c.residual_scale(&sites)?;
        let block = |_| BlockScales {
            attention: scale,
            cross: scale,
            feed_forward: scale,
            out: scale,
        };
        return Ok(Stream {
            embedded: scale,
            blocks: blocks.map(block).collect(),
            last: match last {
                Some(site) => c.residual_scale(&[site])?,
                None => scale,
            },
        });
    }
    let block = |l: usize| {
        let input = match l == blocks.start {
            true => embedded,
            false => Site::BlockOut(l - 1),
        };
        let feed_forward = c.residual_scale(&[Site::FfInput(l), Site::FfResidual(l)])?;
        Ok(BlockScales {
            attention: c.residual_scale(&[input, Site::AttnResidual(l)])?,
            cross: match cross {
                true => c.residual_scale(&[Site::AttnOut(l), Site::CrossResidual(l)])?,
                false => feed_forward,
            },
            feed_forward,
            out: 0.0,
        })
    };
    let end = blocks.end;
    let mut made: Vec<BlockScales> = blocks.clone().map(block).collect::<Result<_, _>>()?;
    let stream = c.residual_scale(&[Site::BlockOut(end - 1)])?;
    let next: Vec<f64> = made.iter().skip(1).map(|b| b.attention).collect();
    for (block, out) in made.iter_mut().zip(next.into_iter().chain([stream])) {
        block.out = out;
    }
    Ok(Stream {
        embedded: made.first().map_or(stream, |b| b.attention),
        blocks: made,
        last: match last {
            Some(site) => c.residual_scale(&[site])?,
            None => stream,
        },
    })
}
