//! What happens when Ctrl-C is pressed, or the process is asked to end?

use std::time::Duration;

use larder::{Error, scratch};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::rows;

/// Exit code of a process that was interrupted, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;
/// How long work may take to end in order.
const GRACE: Duration = Duration::from_secs(5);

/// What is told where a training set was being made.
pub(crate) fn training_set() -> Error {
    Error::unavailable("interrupted before the training set was complete; temporary files were removed")
}

/// What is told of other work.
pub(crate) fn any_work() -> Error {
    Error::unavailable("interrupted").help("what was finished stays; run the same command again to go on")
}

/// Runs work until it is done, or nothing where the process was asked to end before: then what the work held was
/// dropped, and so cleaned up. Work that does not end in time, or while somebody asks again, ends with the process.
pub(crate) fn until<T>(
    runtime: &Runtime,
    work: impl Future<Output = T>,
    tell: impl FnOnce() + Send + 'static,
) -> Option<T> {
    let (asked, heard) = oneshot::channel();
    let watch = runtime.spawn(async move {
        signal().await;
        // Nobody listens where the work is done already.
        let _ = asked.send(());
        tokio::select! {
            () = tokio::time::sleep(GRACE) => {}
            () = signal() => {}
        }
        clean(Duration::ZERO);
        tell();
        std::process::exit(i32::from(INTERRUPTED));
    });
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = work => Some(outcome),
            Ok(()) = heard => None,
        }
    });
    if outcome.is_none() {
        clean(GRACE);
    }
    watch.abort();
    outcome
}

/// Removes what would be left behind.
fn clean(patience: Duration) {
    scratch::remove_all(patience);
    rows::remove_unfinished();
}

/// Waits for Ctrl-C, or to be asked to end. Where the system cannot tell, it ends the process by itself.
async fn signal() {
    let pressed = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = pressed => {}
        () = terminated() => {}
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}
