//! Transformer transfer learning on microcontrollers.
#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod image;
pub mod kernels;
pub mod model;
pub mod quant;
pub mod store;
pub mod tune;
