//! Is every flow asked for, and told of, before it does anything?

use std::sync::Arc;

use async_trait::async_trait;
use larder_base::{Error, ErrorKind, Micros, ProjectName, Result, Value, Version};
use larder_engine::{
    ApplyOptions, AuditEvent, AuditSink, Deed, GcOptions, Guard, Principal, PushTarget, Selection,
};
use parking_lot::Mutex;

use crate::support::*;

/// Denies one deed, and keeps what it was asked.
#[derive(Debug, Default)]
struct Warden {
    denied: Mutex<Option<Deed>>,
    heard: Mutex<Vec<(Deed, Vec<String>, bool)>>,
}

#[async_trait]
impl Guard for Warden {
    async fn check(&self, who: &Principal, deed: Deed, _: &ProjectName, resources: &[String]) -> Result<()> {
        assert_eq!(who.0, "ada");
        if *self.denied.lock() == Some(deed) {
            return Err(Error::denied(format!("{deed:?} of {}", resources.join(","))));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Ear(Arc<Warden>);

impl AuditSink for Ear {
    fn record(&self, event: &AuditEvent) {
        assert_eq!(event.time, Micros(START));
        let heard = (event.deed, event.resources.clone(), event.allowed);
        self.0.heard.lock().push(heard);
    }
}

#[tokio::test]
async fn each_flow_is_denied_whole_and_heard_of() {
    let warden = Arc::new(Warden::default());
    let (guard, ear) = (warden.clone(), Arc::new(Ear(warden.clone())));
    let world = World::with(|builder| {
        builder
            .guard(guard)
            .audit(ear)
            .principal(Principal("ada".to_owned()))
    });
    world.apply(USERS).await;
    world.orders(&[(1, START - HOUR, None, Some(1))]);
    world.materialize().await;
    assert_eq!(world.store.show(Version(1)).await.unwrap().author, "ada");

    let options = ApplyOptions::new().with_offline(true);
    let longer = definitions(&USERS.replace("7d", "8d"));
    let spine = || batch(vec![("user_id", ints([1])), ("event_timestamp", times([START]))]);
    let rows = || orders(&[(1, START, Some(START), Some(2))]);
    let user = vec![("user_id".to_owned(), Value::Int64(1))];
    let store = &world.store;
    let deny = |deed| {
        *warden.denied.lock() = Some(deed);
        warden.heard.lock().clear();
    };
    let assert_denied = |error: Error, deed: Deed, resource: &str| {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        let last = warden.heard.lock().last().cloned().unwrap();
        assert_eq!(last, (deed, vec![resource.to_owned()], false));
    };
    let view = "feature_view:stats";
    deny(Deed::Apply);
    assert_denied(
        store.apply(&longer, &options).await.unwrap_err(),
        Deed::Apply,
        "set:default",
    );
    assert_denied(
        store.rollback(Version(0), &options).await.unwrap_err(),
        Deed::Apply,
        "project",
    );
    assert_denied(
        store.gc(&GcOptions::default()).await.unwrap_err(),
        Deed::Apply,
        "project",
    );
    deny(Deed::Describe);
    assert_denied(
        store.plan(&longer, &options).await.unwrap_err(),
        Deed::Describe,
        "set:default",
    );
    assert_denied(store.status().await.unwrap_err(), Deed::Describe, "status");
    assert_denied(
        store.history(None, 1).await.unwrap_err(),
        Deed::Describe,
        "history",
    );
    deny(Deed::ReadOffline);
    let read = store.historical("svc").entities([spine()]).run().await;
    assert_denied(read.unwrap_err(), Deed::ReadOffline, view);
    let explain = store.historical("svc").entities([spine()]).explain().await;
    assert_denied(explain.unwrap_err(), Deed::ReadOffline, view);
    let latest = store.historical("svc").latest(None).run().await;
    assert_denied(latest.unwrap_err(), Deed::ReadOffline, view);
    let range = store
        .historical("svc")
        .range(Micros(0), Micros(START))
        .run()
        .await;
    assert_denied(range.unwrap_err(), Deed::ReadOffline, view);
    let why = store.why("stats").entity(user.clone()).run().await;
    assert_denied(why.unwrap_err(), Deed::ReadOffline, view);
    let preview = store.preview("svc").run().await;
    assert_denied(preview.unwrap_err(), Deed::ReadOffline, view);
    deny(Deed::ReadOnline);
    let read = store.online(Selection::features(["stats:n"])).await;
    assert_denied(read.unwrap_err(), Deed::ReadOnline, view);
    deny(Deed::Write);
    assert_denied(
        store.materialize().rebuild().run().await.unwrap_err(),
        Deed::Write,
        view,
    );
    let push = store
        .push("orders")
        .to(PushTarget::Both)
        .rows([rows()])
        .run()
        .await;
    assert_denied(push.unwrap_err(), Deed::Write, view);
    deny(Deed::Delete);
    assert_denied(
        store.delete("stats", &[user], None).await.unwrap_err(),
        Deed::Delete,
        view,
    );
    *warden.denied.lock() = None;
    assert_eq!(world.n(1).await, Some(1), "nothing was done");
    assert_eq!(store.snapshot().await.unwrap().version(), Version(1));
}
