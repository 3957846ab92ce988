#![doc = include_str!("../README.md")]
//! # Map of this crate
//!
//! | module | question |
//! | --- | --- |
//! | `fault` | what a failure means: to the caller, and to whoever decides about another try |
//! | `meters` | what is counted |
//! | `wire` | how bytes reach a server, and whether somebody on the way can listen |
//! | `tls` | how servers are verified |

mod fault;
mod meters;
#[cfg(feature = "tls")]
mod tls;
mod wire;

pub use fault::{Fault, Turns};
pub use meters::{Meters, Operation};
#[cfg(feature = "tls")]
pub use tls::{TlsConfig, tls_client};
pub use wire::{Wire, dial, is_local};
