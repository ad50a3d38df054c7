//! `weir poll serve`: the real service, asked over real sockets and by a real browser.

mod api;
mod browser;
mod end;
mod frame;
mod live;
mod managed;
mod odd;
mod once;
mod outages;
mod pages;
