//! Transformer transfer learning on microcontrollers: an int8 encoder that is read in place from one
//! flash image, and the tuning of its last layers on the device, kept through resets and power cuts.
//! No heap, no OS, no panic from input.
//!
//! # The way the data goes
//!
//! Each stop is a module and depends only on the ones above it:
//!
//! ```text
//! image     flash bytes → checked, zero-copy view; a typed error for whatever is not one
//! quant     fixed-point scaling: the one place where rounding is defined
//! kernels   integer operators: linear, attention, softmax, LayerNorm
//! model     arena plan, embedding, attention, feed-forward, encoder in bounded steps, head
//! tune      labelled features → a tail: six methods, from class means to the whole last block
//! store     tails in NOR flash: two slots, power-cut safe; export, import, reset
//! ```
//!
//! # Use
//!
//! ```no_run
//! use tailtune::image::Image;
//! use tailtune::model::{Arena, Encoder, Head, Input};
//! use tailtune::store::Store;
//! use tailtune::tune::{
//!     HeadMemory, LinearHead, Math, MomentumMemory, ReplayMemory, Schedule, Softmax, Tuner,
//! };
//! # fn firmware<F: embedded_storage::nor_flash::NorFlash>(
//! #     model_region: &'static [u8], flash: F, recordings: &[(&[i8], u16)], frames: &[i8],
//! # ) -> Result<(), Box<dyn std::error::Error>> where F::Error: 'static {
//! // The image lies in flash; nothing of it is copied.
//! let image = Image::parse(model_region)?;
//! let mut arena = Arena::<{ 32 * 1024 }>::new();
//! let mut encoder = Encoder::new(&image, arena.as_mut_slice())?; // fails here, or never
//!
//! // Inference, as it was trained. `begin` gives the same in bounded steps.
//! let mut logits = [0i16; 12];
//! let features = encoder.forward(Input::Frames(frames))?;
//! Head::new(&image)?.logits(&features, &mut logits);
//!
//! // A new word, learned from its owner: all memory is fixed.
//! let (mut head, mut momentum) = (HeadMemory::<64, 16>::new(), MomentumMemory::<64, 16>::new());
//! let mut samples = ReplayMemory::<64, 128>::new();
//! let origin = Head::new(&image)?;
//! let mut head = LinearHead::new(head.buffers(), &origin)?;
//! head.add_class("zoom in")?;
//! let method = Softmax::new(head, momentum.buffers(), Math::Exact)?;
//! let mut tuner = Tuner::new(method, samples.replay(64)?);
//! for (frames, label) in recordings {
//!     tuner.observe(&encoder.forward(Input::Frames(frames))?, *label)?;
//! }
//! let report = tuner.fit(&Schedule::default())?;
//!
//! // Kept: a power cut leaves the old tail or the new one.
//! let mut store = Store::new(flash, 0xf_0000..0x10_0000)?;
//! let mut tail = [0; 8192];
//! let len = tuner.emit_tail(&mut tail)?;
//! # let save =
//! store.save(&image.model_id().0, &tail[..len]);
//! # Ok(())
//! # }
//! ```
//!
//! # The same bits everywhere
//!
//! Inference is integer arithmetic that wraps, rounds once and saturates as documented. Tuning is
//! IEEE single precision in a documented order, with exp, ln and square root in software. A host and
//! a device that are given the same bytes hold the same bytes afterwards.
//!
//! # Features
//!
//! `defmt`: `defmt::Format` for errors and reports. `audio`: the front end of sound models. `text`:
//! tokenizers. No feature changes a number.

#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

#[cfg(feature = "audio")]
pub mod audio;
pub mod image;
pub mod kernels;
pub mod model;
pub mod quant;
mod rows;
pub mod store;
#[cfg(feature = "text")]
pub mod text;
pub mod tune;
