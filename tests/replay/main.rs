//! Replay: samples in RAM and in flash.

#[path = "../common/mod.rs"]
mod common;

mod any_flash;
mod cuts;
mod lent;
mod ram;
mod ring;
