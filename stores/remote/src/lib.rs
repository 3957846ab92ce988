#![doc = include_str!("../README.md")]
//! # Map of this crate
//!
//! | module | question |
//! | --- | --- |
//! | `contract` | what is checked before a server is asked, and how a read ends in time |
//! | `fault` | what a failure means: to the caller, and to whoever decides about another try |
//! | `meters` | what is counted |
//! | `pulse` | whether somebody is still at the other end of a connection |
//! | `sent` | which of the rows that are to be written are sent |
//! | `tries` | when another try makes sense |
//! | `wire` | how bytes reach a server, and whether somebody on the way can listen |
//! | `tls` | how servers are verified |

mod contract;
mod fault;
mod meters;
mod pulse;
mod sent;
#[cfg(feature = "tls")]
mod tls;
mod tries;
mod wire;

pub use contract::{
    TOMBSTONE_RETENTION, all_unavailable, check_keys, check_rows, check_shapes, kept, within,
};
pub use fault::{Fault, Turns};
pub use meters::{Meters, Operation};
pub use pulse::Pulse;
pub use sent::{Sent, settle};
#[cfg(feature = "tls")]
pub use tls::{TlsConfig, tls_client, tls_refusal};
pub use tries::Tries;
pub use wire::{Wire, dial, is_local};
