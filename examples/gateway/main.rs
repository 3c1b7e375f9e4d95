//! A caching reverse proxy in front of one origin.
//!
//! `cargo run --release --example gateway` starts a demo origin on a free port and the gateway in
//! front of it; `--help` lists what else it can be told. A request's path: `listen` accepts it,
//! `front` checks and rewrites its head (`proxy`, `forwarded`), the layers of `stack` answer it or
//! hand it to `origin`; what that says before its answer goes back by `interim`.

use std::{error::Error, io::Write, process::ExitCode, sync::Arc};

use http::uri::Authority;
use tokio::net::TcpListener;

use crate::{
    admin::{Admin, Token},
    flags::{Flags, OriginUrl, Protocol, Stop},
    front::Front,
    invalidate::Invalidate,
    listen::{Door, PATIENCE},
    origin::Origin,
    stats::Stats,
};

mod admin;
mod asked;
mod demo;
mod flags;
mod forwarded;
mod front;
mod hop;
mod interim;
mod invalidate;
mod listen;
mod live;
mod multiplex;
mod origin;
mod plain;
mod proxy;
mod stack;
mod stats;
mod stores;
mod upload;
mod varies;

/// An error of any kind, as tower has it.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let flags = match Flags::read(std::env::args_os()) {
        Ok(flags) => flags,
        Err(Stop::Asked(text)) => {
            say(text.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(Stop::Wrong(line)) => return refuse(&line),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("cannot start: {error}")),
    };
    let code = match runtime.block_on(run(flags)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => refuse(&line),
    };
    // A name being looked up, or a request beyond its drain, must not hold up the exit.
    runtime.shutdown_background();
    code
}

/// Starts, serves until told to stop, drains. An error is one line that says why it cannot start.
async fn run(flags: Flags) -> Result<(), String> {
    let token = flags.admin_token_file.as_deref().map(Token::read).transpose()?;
    let listener = bind("--listen", flags.listen).await?;
    let admin_listener = bind("--admin", flags.admin).await?;
    let listening = local(&listener)?;
    let (store, watch) = stores::open(&flags)?;
    let mut stop = Signals::new()?;

    let (url, is_demo) = match flags.origin.clone() {
        Some(url) => (url, false),
        None => (demo_origin().await?, true),
    };
    say(&format!("listening on http://{listening}"));
    say(&format!("admin on http://{}", local(&admin_listener)?));
    suggest(&url, &listening, &local(&admin_listener)?, is_demo);

    let stats = Stats::new();
    stats.stores_by(watch);
    let origin = Origin::new(&url, flags.timeout, flags.tag_header.clone(), Arc::clone(&stats));
    let cache = stack::cache(store, &flags, &stats);
    let stack = stack::stack(origin, &flags, cache.clone(), &stats);
    let front = Front::new(stack, flags.trusted_proxy.clone(), url.authority, Arc::clone(&stats));
    let invalidate = Invalidate::new(cache.invalidator(), flags.trusted_proxy.clone());
    let admin = Admin::new(token, Arc::clone(&stats), invalidate);

    let admin_door = Door::open(admin_listener, PATIENCE, move |_| admin.clone());
    let door = Door::open(listener, PATIENCE, move |peer| front.of(peer));
    let live = tokio::spawn(live::show(Arc::clone(&stats)));

    stop.wait().await;
    live.abort();
    stats.draining.store(true, std::sync::atomic::Ordering::Relaxed);
    say("\ndraining");
    let deadline = tokio::time::Instant::now() + flags.drain;
    tokio::select! {
        () = door.close(flags.drain) => {}
        () = stop.wait() => {}
    }
    // What is fetched by now is nobody's any more.
    cache.drain(deadline.saturating_duration_since(tokio::time::Instant::now())).await;
    admin_door.close(std::time::Duration::ZERO).await;
    Ok(())
}

async fn bind(flag: &str, addr: std::net::SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(addr).await.map_err(|error| format!("{flag} {addr}: {error}"))
}

fn local(listener: &TcpListener) -> Result<String, String> {
    listener
        .local_addr()
        .map(|addr| addr.to_string())
        .map_err(|error| format!("the listening address cannot be read: {error}"))
}

async fn demo_origin() -> Result<OriginUrl, String> {
    let listener = bind("demo origin", ([127, 0, 0, 1], 0).into()).await?;
    let authority = Authority::try_from(local(&listener)?).map_err(|error| error.to_string())?;
    let demo = demo::Demo::new();
    // It serves as long as the process: nobody closes this door.
    drop(Door::open(listener, PATIENCE, move |_| demo.clone()));
    Ok(OriginUrl { authority, protocol: Protocol::Http1 })
}

fn suggest(url: &OriginUrl, listening: &str, admin: &str, is_demo: bool) {
    if !is_demo {
        say(&format!("origin {}\n", url.authority));
        return;
    }
    say(&format!(
        "demo origin on http://{}\n\n  \
         curl -i http://{listening}/products/7        # 120 ms from the origin\n  \
         curl -i http://{listening}/price/7           # never kept\n  \
         curl -N http://{listening}/events            # streamed as it comes\n  \
         curl -i http://{listening}/fail?status=503\n  \
         curl -X POST 'http://{admin}/invalidate?tag=product-7&soft'   # makes it stale\n  \
         curl -X POST 'http://{admin}/invalidate?tag=products'   # they are gone\n  \
         curl -i http://{listening}/outage?seconds=10   # what is stale is given all the same\n  \
         curl -s http://{admin}/status\n",
        url.authority
    ));
}

/// Standard output may be closed; that is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn refuse(line: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "gateway: {line}");
    ExitCode::from(2)
}

/// SIGTERM and Ctrl-C.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> Result<Self, String> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    #[cfg(unix)]
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn new() -> Result<Self, String> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn wait(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
