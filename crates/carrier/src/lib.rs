//! The one connection of a live conversation: the wire that both ends speak, and the sandbox's end.
//!
//! ```text
//!  program                     Daytona's preview                      sandbox
//!  Connection ── HTTP upgrade, secret, WebSocket ──► carrier, a port of its loopback
//!    open()   ── stream ───────────────────────────► a TCP connection to OpenCode's port
//!    accept() ◄─ stream ──────────────────────────── a TCP connection to the outward port
//! ```
//!
//! # The wire
//!
//! The program dials and the sandbox's end answers: a GET with the usual headers of a WebSocket and with
//! [`SECRET_HEADER`]. A wrong secret is answered with 403 and nothing else. From then on each binary message is
//! exactly one frame of [yamux](https://github.com/hashicorp/yamux/blob/master/spec.md), the program being its
//! client. There are no other messages but WebSocket's own pings, pongs and closes. On top of yamux's
//! rules there are these, and a peer that breaks one loses its connection:
//!
//! - A frame has at most [`MAX_BODY`] bytes behind its header, so that a small message waits for little.
//! - The window of a stream is 256 KiB and stays so. Larger ones would fill the buffers of every proxy on the way, and a
//!   small message would wait behind them.
//! - No pings of yamux: WebSocket's do that work. So no answer to a ping is ever what a full buffer holds up while its
//!   end does not read, which with yamux's can hold up both ends for good.
//! - Whoever opens a stream says so at once, with an empty frame. Yamux alone would wait for the first byte,
//!   and whoever waits to be spoken to would wait for ever.
//!
//! A direction of a stream ends with a frame that says FIN. Any other end is a reset, and reading gives
//! [`std::io::ErrorKind::ConnectionReset`], also when the connection is lost; see [`Stream`].
//!
//! Both ends ping every 20 seconds ([`Settings`]), and a peer that does not answer within 30 has lost the connection. A WebSocket's
//! close has code [`REPLACED`] if a newer connection with the right secret has come: so the older one's program
//! knows that it must not come back.
//!
//! # What a peer can take
//!
//! The program opens at most 128 streams and the sandbox 64. The program keeps no more than 256 in all, so 64 MiB, and no
//! more than 65,536 unread frames, because each costs more than its bytes. What the sandbox opens beyond 96 is
//! reset: more than 64, because a stream may be over there and not yet here.
//!
//! This crate is part of the runner, so it brings what a static binary can have, and no TLS. It knows no
//! HTTP beyond the upgrade: it only copies bytes.

mod ends;
mod frames;
mod link;
mod rules;
mod secret;
mod serve;
mod stream;

pub use link::{CLOSED, Link, Lost, Opener, REPLACED, Role, Settings, link};
pub use rules::{Breach, MAX_BODY};
pub use secret::{SECRET_HEADER, Secret, SecretError};
pub use serve::{Carrier, MAX_WAIT};
pub use stream::Stream;
