//! The host side of tailtune: pretrained weights → calibration → int8 → flash image, and back.

pub mod adapt;
pub mod audio;
pub mod board;
pub mod cmd;
pub mod data;
pub mod emulator;
pub mod evaluation;
pub mod export;
pub mod flash;
pub mod float_model;
pub mod image_file;
pub mod image_writer;
pub mod import;
pub mod int8;
pub mod metrics;
pub mod models;
pub mod output;
pub mod qemu;
pub mod quantize;
pub mod reference;
pub mod setup;
pub mod sqnr;
pub mod synthetic;
pub mod testing;
pub mod text;
pub mod toolchain;
