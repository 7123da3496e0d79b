//! The application that every board shares.
#![no_std]
