//! `ares top`: a live picture of the daemon for a terminal of 80 columns or more, and one moment of it for scripts. Asks for the status
//! that `ares status` prints, once a second.

mod draw;
mod view;

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};

use self::view::View;
use super::{Context, unexpected};
use crate::admin::client::Client;
use crate::admin::proto::{Outcome, Request};
use crate::config::Format;
use crate::error::{Failure, Kind};
use crate::lowargs::TopArgs;
use crate::session::Session;

/// How often it asks.
const EVERY: Duration = Duration::from_secs(1);

/// How often it looks for keys and signals meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Size of the picture that is not drawn on a terminal, in characters.
const PAGE: (u16, u16) = (80, 40);

pub(super) fn run(context: &Context, args: &TopArgs) -> Result<(), Failure> {
    let mut daemon = Session::attach(&context.config)?;
    let mut view = View::default();
    if args.once || context.config.output.format == Format::Json {
        view.on_status(ask(context, &mut daemon)?);
        return context.print(&draw::text(&view, PAGE), &view.json());
    }
    if !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        return Err(
            Failure::new(Kind::Usage, "stdout is no terminal").help("`ares top --once` prints one moment; --json for scripts")
        );
    }
    let screen = |e: std::io::Error| Failure::new(Kind::Failed, format!("the terminal does not take a screen: {e}"));
    let mut terminal = ratatui::try_init().map_err(screen)?;
    let result = watch(context, &mut daemon, &mut view, &mut |view| {
        terminal.draw(|frame| draw::draw(frame, view)).map(|_| ()).map_err(screen)
    });
    ratatui::restore();
    result
}

fn ask(context: &Context, daemon: &mut Client) -> Result<serde_json::Value, Failure> {
    match daemon.run(&Request::Status, &*context.sink(), &context.cancel)? {
        Outcome::Status { status } => Ok(status),
        other => Err(unexpected(&other)),
    }
}

/// Until a key or a signal ends it.
fn watch(
    context: &Context,
    daemon: &mut Client,
    view: &mut View,
    show: &mut dyn FnMut(&View) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let keys = |e: std::io::Error| Failure::new(Kind::Failed, format!("the terminal gives no keys: {e}"));
    loop {
        let due = Instant::now() + EVERY;
        match ask(context, daemon) {
            Ok(status) => view.on_status(status),
            // A daemon that was started anew answers on another connection.
            Err(failure) => match Session::attach(&context.config) {
                Ok(again) => *daemon = again,
                Err(_) => view.on_gone(failure.message),
            },
        }
        show(view)?;
        while Instant::now() < due {
            if context.cancel.is_cancelled() {
                return Ok(());
            }
            if !event::poll(LOOK).map_err(keys)? {
                continue;
            }
            match event::read().map_err(keys)? {
                Event::Key(key) if matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) => return Ok(()),
                // In this mode the terminal sends no signal for it.
                Event::Key(key) if key.code == KeyCode::Char('c') && key.modifiers == KeyModifiers::CONTROL => return Ok(()),
                Event::Resize(..) => show(view)?,
                _ => {}
            }
        }
    }
}
