//! Which code runs which command?

pub(crate) mod apply;
pub(crate) mod compact;
pub(crate) mod delete;
pub(crate) mod demo;
pub(crate) mod describe;
pub(crate) mod doctor;
pub(crate) mod gc;
pub(crate) mod get;
pub(crate) mod historical;
pub(crate) mod history;
pub(crate) mod infer;
pub(crate) mod init;
pub(crate) mod list;
pub(crate) mod materialize;
pub(crate) mod plan;
pub(crate) mod preview;
pub(crate) mod push;
pub(crate) mod rollback;
pub(crate) mod schema;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod stores;
pub(crate) mod validate;
pub(crate) mod why;

use larder::Result;

use crate::args::Command;
use crate::context::Context;
use crate::later;
use crate::output::Report;

/// Runs a command.
///
/// # Errors
/// What the command says.
pub(crate) async fn run(cx: &Context, command: Command) -> Result<Report> {
    match command {
        // Boxed, because the demo runs other commands through this very function.
        Command::Demo(args) => Box::pin(demo::run(cx, args)).await,
        Command::Init(args) => init::run(args),
        Command::Infer(args) => infer::run(cx, args).await,
        Command::Validate(args) => validate::run(cx, args).await,
        Command::Plan(args) => plan::run(cx, args).await,
        Command::Apply(args) => apply::run(cx, args).await,
        Command::History(args) => history::run(cx, args).await,
        Command::Show(args) => show::run(cx, args).await,
        Command::Rollback(args) => rollback::run(cx, args).await,
        Command::Gc(args) => gc::run(cx, args).await,
        Command::List(args) => list::run(cx, args).await,
        Command::Describe(args) => describe::run(cx, args).await,
        Command::Historical(args) => historical::run(cx, *args).await,
        Command::Preview(args) => preview::run(cx, args).await,
        Command::Why(args) => why::run(cx, args).await,
        Command::Materialize(args) => materialize::run(cx, args).await,
        Command::Get(args) => get::run(cx, args).await,
        Command::Push(args) => push::run(cx, args).await,
        Command::Compact(args) => compact::run(cx, args).await,
        Command::Delete(args) => delete::run(cx, args).await,
        Command::Status(args) => status::run(cx, args).await,
        Command::Stores(args) => stores::run(&args),
        Command::Doctor(args) => doctor::run(cx, args).await,
        Command::Schema(args) => schema::run(&args),
        Command::Unknown(words) => {
            let name = words.first().map(|word| word.to_string_lossy().into_owned());
            Err(later::unknown(&name.unwrap_or_default()))
        }
    }
}
