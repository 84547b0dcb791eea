//! The process that runs a command and outlives the request: it leads a session, captures the
//! output, answers questions, and ends when the command has ended and everyone was answered.
//!
//! Threads: one reads the pipe, one reaps the shell, one writes the command's input, and a few serve
//! connections, each until its moment has come. All wait on one condition; nobody polls. A thread that
//! serves connections stays for the next one: there are never more of them than connections were open
//! at once, and one.
//!
//! Surprise: as in OpenCode, a command has ended when the shell has exited *and* the pipe is
//! closed, so `sleep 30 & echo x` takes 30 seconds, and `sleep 30 > /dev/null & echo x` none. Unlike
//! OpenCode, a shell that was killed by a signal ends the command at once.

use super::capture::Capture;
use super::wire::{Answer, Ask, DONE, OUT, Spec, is_same_user};
use super::{descriptors, kill};
use crate::answer::error;
use protocol::{Code, JobState, Outcome, StopReason, ToolOutput};
use rustix::process::{Pid, Signal};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// After the first news.
const HOLD: Duration = Duration::from_millis(protocol::HOLD_MS);
/// For the last output of a shell that was killed while others hold its pipe.
const DRAIN: Duration = Duration::from_millis(50);
/// Most connections that are served at once; others wait until one is done.
const MAX_SERVED: usize = 64;
/// How long an answer that could not be written to disk is kept in memory.
const LINGER: Duration = Duration::from_secs(600);

struct Job {
    state: Mutex<Progress>,
    changed: Condvar,
}

struct Progress {
    job: String,
    capture: Capture,
    closed: bool,
    exit: Option<ExitStatus>,
    stop: Option<StopReason>,
    /// What is sent here is written to the command's standard input, if it takes any.
    input: Option<Sender<String>>,
    /// Requests whose input was written.
    written: HashSet<String>,
    answer: Option<Answer>,
    /// Connections that wait for an answer.
    asking: usize,
    /// Threads that serve connections, and how many of them wait for one.
    serving: usize,
    idle: usize,
    /// True when someone got the final answer.
    told: bool,
}

/// The whole life of a supervisor. Stdin is the listener, stdout the first connection.
pub(crate) fn supervise() {
    descriptors::close_inherited();
    // Fails only for a group leader, which a spawned process is not.
    let _ = rustix::process::setsid();
    let Ok((listener, first, spec)) = begin() else {
        return;
    };
    let job = Arc::new(Job {
        state: Mutex::new(Progress {
            job: spec.job.clone(),
            capture: Capture::new(spec.dir.as_ref().map(|dir| dir.join(OUT)), spec.background),
            closed: false,
            exit: None,
            stop: None,
            input: None,
            written: HashSet::new(),
            answer: None,
            asking: 1,
            serving: 1,
            idle: 0,
            told: false,
        }),
        changed: Condvar::new(),
    });
    let shared = Arc::clone(&job);
    thread::spawn(move || shared.serve(&Arc::new(listener), Some(first)));
    let answer = job.run(&spec);
    let kept = spec.dir.as_ref().is_some_and(|dir| {
        let text = serde_json::to_vec(&answer).unwrap_or_default();
        let fresh = dir.join("done.new");
        std::fs::write(&fresh, text)
            .and_then(|()| std::fs::rename(&fresh, dir.join(DONE)))
            .is_ok()
    });
    job.close(answer, kept);
}

fn begin() -> io::Result<(UnixListener, BufReader<UnixStream>, Spec)> {
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut first = BufReader::new(UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?));
    let mut line = String::new();
    first.read_line(&mut line)?;
    Ok((listener, first, serde_json::from_str(&line)?))
}

/// Why a command was ended.
enum End {
    Exit,
    Timeout,
    Stop(StopReason),
}

impl Job {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        // A panic aborts the process, so the lock cannot be poisoned.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, Progress>,
        until: Instant,
    ) -> MutexGuard<'a, Progress> {
        let left = until.saturating_duration_since(Instant::now());
        match self.changed.wait_timeout(state, left) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    /// Runs the command to its end.
    fn run(self: &Arc<Job>, spec: &Spec) -> Answer {
        let started = Instant::now();
        let (pipe, mut child) = match spawn(spec) {
            Ok(spawned) => spawned,
            Err(why) => {
                return Err(error(
                    Code::Sandbox,
                    format!("The sandbox cannot start the command: {why}"),
                ));
            }
        };
        let pid = Pid::from_child(&child);
        self.lock().input = child.stdin.take().map(writer);
        let shared = Arc::clone(self);
        thread::spawn(move || shared.read(pipe));
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let status = child.wait();
            shared.lock().exit = Some(status.unwrap_or_default());
            shared.changed.notify_all();
        });
        let deadline = started + Duration::from_millis(spec.timeout_ms.min(1 << 40));
        let end = self.await_end(deadline);
        if !matches!(end, End::Exit) {
            self.kill(pid);
        }
        let mut state = self.lock();
        let exit = state.exit.filter(|_| matches!(end, End::Exit));
        let note = match (end, exit.and_then(|exit| exit.signal())) {
            (End::Timeout, _) => Some(format!(
                "shell tool terminated command after exceeding timeout {} ms. If this command is expected to take longer and is not waiting for interactive input, retry with a larger timeout value in milliseconds.",
                spec.timeout_ms
            )),
            (End::Stop(StopReason::Abort), _) => Some("User aborted the command".to_string()),
            (End::Stop(StopReason::Asked), _) => Some("The command was stopped".to_string()),
            (End::Exit, Some(signal)) => Some(format!("The shell was killed by signal {signal}")),
            (End::Exit, None) => None,
        };
        // A shell that a signal killed has the exit code another shell would give it.
        let exit = exit.and_then(|exit| exit.code().or(exit.signal().map(|signal| 128 + signal)));
        let done = state.capture.finish(exit, note);
        Ok(Outcome::Done(ToolOutput {
            title: spec.command.clone(),
            output: done.output,
            metadata: done.metadata,
            attachments: Vec::new(),
        }))
    }

    fn await_end(&self, deadline: Instant) -> End {
        let mut state = self.lock();
        // A killed shell has ended; what it printed may still be on its way through the pipe.
        let mut drained = None;
        loop {
            let now = Instant::now();
            if let Some(reason) = state.stop {
                return End::Stop(reason);
            }
            if let Some(exit) = state.exit {
                if state.closed || drained.is_some_and(|drained| now >= drained) {
                    return End::Exit;
                }
                if exit.signal().is_some() {
                    drained.get_or_insert(now + DRAIN);
                }
            }
            if now >= deadline {
                return End::Timeout;
            }
            state = self.wait(state, drained.unwrap_or(deadline).min(deadline));
        }
    }

    /// Asks the whole session to end, then makes it.
    fn kill(&self, shell: Pid) {
        for (signal, patience) in [
            (Signal::TERM, GRACE),
            (Signal::KILL, GRACE),
            (Signal::KILL, GRACE),
        ] {
            let state = self.lock();
            let alive = state.exit.is_none().then_some(shell);
            drop(state);
            // Children that ignore SIGTERM may have closed the pipe, so look for them too.
            if !kill::session(alive, signal) && alive.is_none() {
                return;
            }
            let until = Instant::now() + patience;
            let mut state = self.lock();
            while !(state.exit.is_some() && state.closed) && Instant::now() < until {
                state = self.wait(state, until);
            }
        }
    }

    fn read(&self, mut pipe: PipeReader) {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(size) => self.lock().capture.push(&buffer[..size]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            }
            self.changed.notify_all();
        }
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Serves one connection after the other, the first of them now if there is one. Whoever takes
    /// the last free place sees to it that there is another.
    fn serve(self: &Arc<Job>, listener: &Arc<UnixListener>, first: Option<BufReader<UnixStream>>) {
        let mut next = first;
        loop {
            let stream = match next.take() {
                Some(stream) => stream,
                None => {
                    self.lock().idle += 1;
                    let accepted = listener.accept();
                    self.lock().idle -= 1;
                    match accepted {
                        Ok((stream, _)) if is_same_user(&stream) => {
                            self.lock().asking += 1;
                            BufReader::new(stream)
                        }
                        Ok(_) => continue,
                        Err(_) => return,
                    }
                }
            };
            let mut state = self.lock();
            if state.idle == 0 && state.serving < MAX_SERVED {
                state.serving += 1;
                let (shared, listener) = (Arc::clone(self), Arc::clone(listener));
                thread::spawn(move || shared.serve(&listener, None));
            }
            drop(state);
            self.converse(stream);
        }
    }

    fn converse(&self, mut stream: BufReader<UnixStream>) {
        let mut text = String::new();
        let _ = stream
            .get_ref()
            .set_read_timeout(Some(Duration::from_secs(10)));
        let asked = stream.by_ref().take(1 << 16).read_to_string(&mut text);
        if let (Ok(_), Ok(ask)) = (asked, serde_json::from_str::<Ask>(&text)) {
            let answer = self.answer(ask);
            let is_final = !matches!(answer, Ok(Outcome::Running(_)));
            let text = serde_json::to_vec(&answer).unwrap_or_default();
            let _ = stream
                .get_ref()
                .set_write_timeout(Some(Duration::from_secs(10)));
            if stream.get_mut().write_all(&text).is_ok() && is_final {
                self.lock().told = true;
            }
        }
        // Stdout is the first connection too, so closing this copy alone would not end it.
        let _ = stream.get_ref().shutdown(Shutdown::Both);
        self.lock().asking -= 1;
        self.changed.notify_all();
    }

    fn answer(&self, ask: Ask) -> Answer {
        let start = Instant::now();
        let (news_at, end_at) = (
            start + Duration::from_millis(ask.wait.output_ms),
            start + Duration::from_millis(ask.wait.max_ms),
        );
        let mut state = self.lock();
        if ask.stop.is_some() {
            state.stop = state.stop.or(ask.stop);
            self.changed.notify_all();
        }
        if let (Some((request, text)), Some(input)) = (ask.input, state.input.clone())
            && state.written.insert(request)
        {
            // Fails if the command reads no more.
            let _ = input.send(text);
        }
        // When there is news: the moment to return with it.
        let mut due = None;
        loop {
            if let Some(answer) = &state.answer {
                return answer.clone();
            }
            let now = Instant::now();
            // The answer is being written down.
            let ending = state.exit.is_some() && state.closed;
            if ending {
                due = None;
            } else if state.capture.total() > ask.offset {
                due = due.or(Some(news_at.max(now + HOLD).min(end_at)));
            }
            if ask.stop.is_none() && now >= due.unwrap_or(end_at) {
                let (output, offset) = state.capture.since(ask.offset);
                return Ok(Outcome::Running(JobState {
                    job: state.job.clone(),
                    output,
                    offset,
                }));
            }
            let until = match ask.stop {
                Some(_) => now + LINGER,
                None => due.unwrap_or(end_at),
            };
            state = self.wait(state, until);
        }
    }

    /// Publishes the answer and ends when everyone who asked was told. If the answer is not on
    /// disk, somebody must have fetched it first.
    fn close(&self, answer: Answer, kept: bool) {
        let until = Instant::now() + LINGER;
        let mut state = self.lock();
        state.answer = Some(answer);
        self.changed.notify_all();
        while (state.asking > 0 || !(kept || state.told)) && Instant::now() < until {
            state = self.wait(state, until);
        }
    }
}

/// Writes what it is sent to a command, one text after the other. A command that does not read holds
/// up its own input, and nothing else.
fn writer(mut stdin: ChildStdin) -> Sender<String> {
    let (sender, texts) = mpsc::channel::<String>();
    thread::spawn(move || {
        for text in texts {
            if stdin
                .write_all(text.as_bytes())
                .and_then(|()| stdin.flush())
                .is_err()
            {
                return;
            }
        }
    });
    sender
}

fn spawn(spec: &Spec) -> io::Result<(PipeReader, Child)> {
    let null = File::open("/dev/null")?;
    let (reader, writer) = io::pipe()?;
    let start = |shell: &Path| -> io::Result<Child> {
        Command::new(shell)
            .arg("-c")
            .arg(&spec.command)
            .current_dir(&spec.cwd)
            // Where the toolbox's own shell was before it started the runner.
            .env_remove("OLDPWD")
            .env("AGENT", "1")
            .env("OPENCODE", "1")
            .envs(&spec.env)
            .stdin(match spec.background {
                true => Stdio::piped(),
                false => Stdio::from(null.try_clone()?),
            })
            .stdout(Stdio::from(writer.try_clone()?))
            .stderr(Stdio::from(writer.try_clone()?))
            .process_group(0)
            .spawn()
    };
    let child = start(&spec.shell()).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => start(Path::new("sh")),
        _ => Err(error),
    })?;
    Ok((reader, child))
}
