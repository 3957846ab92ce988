//! What happens when Ctrl-C is pressed, or the process is asked to end?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder::{Error, scratch};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};

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

/// What is told of work that ended in order, with what it says itself.
pub(crate) fn in_order(error: Error) -> Error {
    let help = error
        .remedy()
        .unwrap_or("run the same command again to go on")
        .to_owned();
    Error::unavailable("interrupted").help(help).source(error)
}

/// How work asks to be told of an interrupt, so as to end in order rather than be dropped.
#[derive(Debug, Clone)]
pub(crate) struct Asked(Arc<Asking>);

#[derive(Debug)]
struct Asking {
    heard: watch::Sender<bool>,
    listened_to: AtomicBool,
}

impl Asked {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Asking {
            heard: watch::Sender::new(false),
            listened_to: AtomicBool::new(false),
        }))
    }

    /// Is done when the process was asked to end. Who calls this promises to end soon after that.
    pub(crate) fn to_end(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.listened_to.store(true, Ordering::Release);
        let mut heard = self.0.heard.subscribe();
        let asking = self.0.clone();
        async move {
            // The sender lives in `asking`.
            let _ = heard.wait_for(|heard| *heard).await;
            drop(asking);
        }
    }

    /// Whether the process was asked to end.
    pub(crate) fn was_heard(&self) -> bool {
        *self.0.heard.borrow()
    }

    /// Tells the work; whether it listens.
    fn ask(&self) -> bool {
        self.0.heard.send_replace(true);
        self.0.listened_to.load(Ordering::Acquire)
    }
}

/// How work ended.
pub(crate) enum Ended<T> {
    /// By itself.
    Done(T),
    /// It was interrupted; what it says where it ended in order, and nothing where it was dropped, and so cleaned up.
    Interrupted(Option<T>),
}

/// Runs work until it is done or the process is asked to end. Work that does not end in time, or while somebody asks
/// again, ends with the process.
pub(crate) fn until<T>(
    runtime: &Runtime,
    work: impl Future<Output = T>,
    asked: &Asked,
    tell: impl FnOnce() + Send + 'static,
) -> Ended<T> {
    let asking = asked.clone();
    let (interrupt, interrupted) = oneshot::channel();
    let watch = runtime.spawn(async move {
        signal().await;
        // Nobody listens where the work is done already.
        let _ = interrupt.send(());
        tokio::select! {
            () = tokio::time::sleep(GRACE) => {}
            () = signal() => {}
        }
        clean(Duration::ZERO);
        tell();
        std::process::exit(i32::from(INTERRUPTED));
    });
    let ended = runtime.block_on(async {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            outcome = &mut work => Ended::Done(outcome),
            Ok(()) = interrupted => match asking.ask() {
                true => Ended::Interrupted(Some(work.await)),
                false => Ended::Interrupted(None),
            },
        }
    });
    if matches!(ended, Ended::Interrupted(_)) {
        clean(GRACE);
    }
    watch.abort();
    ended
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
