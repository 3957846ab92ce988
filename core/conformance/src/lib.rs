//! What every larder store must do, as cases that any store can run.
//!
//! Give the suite a fixture ([`OnlineFixture`], [`RegistryFixture`], [`OfflineFixture`]) and run it with [`run_online`],
//! [`run_registry`] or [`run_offline`] inside a Tokio runtime whose time is enabled, best one with several threads: some
//! cases race. The answer is a [`Report`].
//!
//! - Cases ask for declared capabilities. One that does not apply is skipped with a reason; an undeclared ability is
//!   tested to answer `Unsupported` and to change nothing.
//! - [`oracle`] is the point-in-time rule as naive nested loops; [`table`] and the files in `cases/` are its examples.
//! - [`FaultProxy`] stands between a client and a server, and makes the line as bad as lines get.
//! - [`Race`] lets many write the same keys at once.
//! - [`Series`] records what a store counts.
//! - [`history`] generates random histories with late rows and answers them naively, for tests that what a model is
//!   trained on is what it is served.
//!
//! # Example
//! ```
//! use std::sync::{Arc, Mutex};
//! use larder_conformance::{OnlineFixture, Options, run_online_with};
//! use larder_core::{OnlineStore, Result, async_trait::async_trait, memory::MemoryOnline};
//!
//! #[derive(Default)]
//! struct Fixture(Mutex<Arc<MemoryOnline>>);
//!
//! #[async_trait]
//! impl OnlineFixture for Fixture {
//!     fn name(&self) -> String {
//!         "memory".to_owned()
//!     }
//!     async fn open(&self) -> Result<Arc<dyn OnlineStore>> {
//!         Ok(self.0.lock().unwrap().clone())
//!     }
//!     async fn wipe(&self) -> Result<()> {
//!         *self.0.lock().unwrap() = Arc::default();
//!         Ok(())
//!     }
//! }
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let report = run_online_with(&Fixture::default(), &Options::new().only("online.order")).await;
//! println!("{report}");
//! report.assert_passed();
//! # });
//! ```
//!
//! Nothing here is random between runs: every generator is seeded, and [`Options::seeds`] says how many seeds are run.

mod case;
mod check;
mod fixture;
pub mod history;
pub mod numbers;
mod offline;
mod online;
pub mod oracle;
mod proxy;
mod race;
mod registry;
mod report;
mod rng;
mod series;
pub mod table;

pub use case::{CaseInfo, Options};
pub use fixture::{Loaded, OfflineFixture, OnlineFixture, RegistryFixture, SourceTable};
pub use offline::{offline_cases, run_offline, run_offline_with};
pub use online::{online_cases, run_online, run_online_with};
pub use proxy::FaultProxy;
pub use race::{Race, RaceReport, eventually, trouble};
pub use registry::{registry_cases, run_registry, run_registry_with};
pub use report::{CaseReport, Outcome, Report};
pub use rng::Rng;
pub use series::Series;

/// The version of the suite; reports carry it.
pub const SUITE_VERSION: &str = env!("CARGO_PKG_VERSION");
