//! `kill -9` of larder, of its online store, of both, again and again at random moments: is what was acknowledged there, does
//! no value go back, and does all come right by itself?

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use larder::{ErrorKind, OnlinePlan, ReadOptions, Reading, Selection, Value};

use super::{Backend, CLICKS, project};
use crate::world::{LARDER, larder};

/// Kills; `LARDER_TEST_KILLS=50` for more.
const ROUNDS: u32 = 20;
/// Whose number is pushed, one higher each time: nobody's of the history.
const PUSHED: i64 = 1_000_000;
/// How long anything may take to come right or to give up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Larder,
    Server,
    Both,
}

/// A service that opened its stores once.
struct Service {
    runtime: tokio::runtime::Runtime,
    plan: OnlinePlan,
}

impl Service {
    fn start(dir: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let plan = runtime.block_on(async {
            let store = larder::serving(dir.join("larder.yaml")).open().await.unwrap();
            store.online(Selection::features(["clicks"])).await.unwrap()
        });
        Self { runtime, plan }
    }

    fn try_read(&self, users: &[i64]) -> larder::Result<Vec<Option<i64>>> {
        self.runtime.block_on(async {
            let mut session = self.plan.session();
            let users: Vec<Value> = users.iter().map(|user| Value::Int64(*user)).collect();
            session.values("user_id", &users)?;
            let outcome = session.read(ReadOptions::new()).await?;
            let number = |row| match outcome.value(row, 0) {
                Reading::Present(Value::Int64(number)) => Some(number),
                Reading::NotFound => None,
                other => panic!("an answer that fits nothing: {other:?}"),
            };
            Ok((0..outcome.rows()).map(number).collect())
        })
    }

    /// Reads on until it works: nothing is restarted, and no failure is of another kind than "not now".
    fn read(&self, users: &[i64]) -> Vec<Option<i64>> {
        let began = Instant::now();
        loop {
            let asked = Instant::now();
            match self.try_read(users) {
                Ok(found) => return found,
                Err(error) => {
                    let passing = matches!(
                        error.kind(),
                        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Overloaded
                    );
                    assert!(passing, "{}", error.chain());
                    assert!(asked.elapsed() < Duration::from_secs(5), "it does not fail fast");
                    assert!(began.elapsed() < PATIENCE, "it never recovers: {}", error.chain());
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

struct Trial<'a, B> {
    server: &'a mut B,
    dir: PathBuf,
    service: Service,
    /// The highest number of `PUSHED` that a command acknowledged, and that one tried to write.
    acknowledged: i64,
    tried: i64,
    /// What `PUSHED` must not go below.
    floor: Option<i64>,
    /// Each has one row in the history, whose number is the user's own.
    users: i64,
    /// Whether all rows of the history must be there.
    complete: bool,
}

impl<B: Backend> Trial<'_, B> {
    fn command(&mut self, pushes: bool, rebuild: bool) -> Command {
        let mut command = Command::new(LARDER);
        command
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if pushes {
            self.tried += 1;
            // A history that begins long ago, one second for each number.
            let at = format!("2026-02-01T00:{:02}:{:02}Z", self.tried / 60, self.tried % 60);
            let text = format!("user_id,at,number\n{PUSHED},{at},{}\n", self.tried);
            std::fs::write(self.dir.join("one.csv"), text).unwrap();
            command.args(["push", "clicks", "--file", "one.csv", "--to", "both"]);
        } else {
            command.args(["materialize", "--views", "clicks"]);
            command.args(rebuild.then_some("--rebuild"));
        }
        command
    }

    /// One command, one kill. Answers whether the command said that it did its work.
    fn round(&mut self, command: &mut Command, victim: Victim, after: Duration) -> bool {
        let mut child = command.spawn().unwrap();
        std::thread::sleep(after);
        if victim != Victim::Server {
            let _ = child.kill();
        }
        if victim != Victim::Larder {
            self.server.kill();
        }
        let done = end(&mut child);
        if victim != Victim::Larder {
            let down = self.service.try_read(&[PUSHED]);
            assert!(down.is_err(), "a dead server answers");
            self.server.run();
        }
        done
    }

    fn check(&self, dice: &mut Dice) {
        let users: Vec<i64> = (0..200)
            .map(|_| 1 + dice.below(self.users as u64) as i64)
            .collect();
        for (user, found) in users.iter().zip(self.service.read(&users)) {
            match found {
                Some(number) => assert_eq!(number, *user, "a value that nobody wrote"),
                None => assert!(!self.complete, "user {user} was acknowledged, and is gone"),
            }
        }
        let found = self.service.read(&[PUSHED])[0];
        assert!(
            found >= self.floor && found.unwrap_or(0) <= self.tried,
            "{found:?} after {:?}",
            self.floor
        );
    }
}

/// Waits for a command. Answers whether it succeeded.
fn end(child: &mut Child) -> bool {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        assert!(began.elapsed() < PATIENCE, "a command hangs");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills larder, the server, or both, again and again. The server keeps what it acknowledged.
pub(crate) fn kills(server: &mut impl Backend) {
    let (_world, dir) = project(server);
    std::fs::write(dir.join("features").join("clicks.yaml"), CLICKS).unwrap();
    let run = |args: &[&str]| larder(&dir, args).ok();
    run(&["apply", "--offline"]);
    let mut rows = "user_id,at,number\n".to_owned();
    let users = server.users();
    for user in 1..=users {
        writeln!(rows, "{user},2026-01-01T00:00:00Z,{user}").unwrap();
    }
    std::fs::write(dir.join("rows.csv"), rows).unwrap();
    run(&["push", "clicks", "--file", "rows.csv", "--to", "offline"]);
    let began = Instant::now();
    run(&["materialize", "--views", "clicks"]);
    let whole = began.elapsed();

    let mut dice = Dice(0x5eed_1a7d_e700_0001);
    let mut trial = Trial {
        service: Service::start(&dir),
        server,
        dir: dir.clone(),
        acknowledged: 0,
        tried: 0,
        floor: None,
        users,
        complete: true,
    };
    trial.check(&mut dice);
    let (mut acknowledged, mut given_up) = (0, 0);
    let rounds = std::env::var("LARDER_TEST_KILLS").ok();
    let rounds = rounds.and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    for round in 0..rounds {
        if round % 10 == 9 {
            // A run that begins with nothing, too.
            trial.server.empty();
            (trial.complete, trial.floor) = (false, None);
            run(&["apply"]);
        }
        let pushes = dice.below(3) == 0;
        let victim = [Victim::Larder, Victim::Server, Victim::Both][dice.below(3) as usize];
        let after = Duration::from_micros(dice.below(whole.as_micros() as u64 * 5 / 4));
        let rebuild = dice.below(2) == 0;
        let mut command = trial.command(pushes, rebuild);
        match trial.round(&mut command, victim, after) {
            true if pushes => {
                acknowledged += 1;
                (trial.acknowledged, trial.floor) = (trial.tried, Some(trial.tried));
            }
            // What was pushed to both is in the history, and so online after a run over all of it.
            true => {
                acknowledged += 1;
                trial.complete = true;
                trial.floor = trial
                    .floor
                    .max((trial.acknowledged > 0).then_some(trial.acknowledged));
            }
            false => given_up += 1,
        }
        trial.check(&mut dice);
        // What is online does not go back, even where nobody acknowledged it.
        trial.floor = trial.floor.max(trial.service.read(&[PUSHED])[0]);
    }
    // Kills came too early, too late, and in the middle: else these rounds show nothing.
    assert!(
        acknowledged > 0 && given_up > rounds / 5,
        "{acknowledged} done, {given_up} given up"
    );
    run(&["materialize", "--views", "clicks"]);
    (trial.complete, trial.floor) = (true, trial.floor.max(Some(trial.acknowledged)));
    trial.check(&mut dice);
}
