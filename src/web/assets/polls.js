// What makes the pages nicer, and nothing that they need: results that move, and a box that counts picks.
"use strict";
(() => {
  const count = new Intl.NumberFormat("en");

  // On a poll of several picks: tell how many are left, and hold back one too many.
  const form = document.querySelector("form[data-pick]");
  if (form) {
    const most = Number(form.dataset.pick);
    const boxes = [...form.querySelectorAll("input[type=checkbox]")];
    const left = form.querySelector("[data-left]");
    const update = () => {
      const picked = boxes.filter((box) => box.checked).length;
      for (const box of boxes) box.disabled = !box.checked && picked >= most;
      if (left && boxes.length) left.textContent = `${picked} of ${most} chosen.`;
    };
    form.addEventListener("change", update);
    window.addEventListener("pageshow", update);
    // One press, one vote: a second would only be told that the first is in.
    form.addEventListener("submit", () => {
      const button = form.querySelector("button");
      setTimeout(() => { button.disabled = true; }, 0);
      window.addEventListener("pageshow", () => { button.disabled = false; });
    });
  }

  // When a poll closes, by the reader's clock.
  const local = new Intl.DateTimeFormat("en-GB", {
    day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
  });
  for (const time of document.querySelectorAll("time[data-local]")) {
    time.textContent = local.format(new Date(time.dateTime)).replace(" at ", ", ");
  }

  // On a results page: follow the totals.
  const results = document.querySelector("[data-events]");
  if (results && "EventSource" in window) {
    const asOf = results.querySelector("[data-as-of]");
    let asOfMs = Date.parse(asOf.dateTime);
    const tell = () => {
      const seconds = Math.max(0, Math.round((Date.now() - asOfMs) / 1000));
      const [n, unit] = seconds < 120 ? [seconds, "second"]
        : seconds < 7200 ? [Math.floor(seconds / 60), "minute"]
        : seconds < 172800 ? [Math.floor(seconds / 3600), "hour"] : [Math.floor(seconds / 86400), "day"];
      asOf.textContent = seconds < 2 ? "now" : `${n} ${unit}${n === 1 ? "" : "s"} ago`;
    };
    const show = (totals) => {
      const most = Math.max(...totals.choices.map((choice) => choice.votes));
      for (const choice of totals.choices) {
        const row = results.querySelector(`[data-choice="${CSS.escape(choice.key)}"]`);
        if (!row) continue;
        row.querySelector("[data-share]").textContent = `${(choice.share * 100).toFixed(1)}%`;
        row.querySelector("[data-votes]").textContent =
          `${count.format(choice.votes)} ${choice.votes === 1 ? "vote" : "votes"}`;
        row.querySelector("[data-bar]").setAttribute("width", `${(choice.share * 100).toFixed(2)}%`);
        row.classList.toggle("leads", choice.votes === most && most > 0);
      }
      results.querySelector("[data-total]").textContent = count.format(totals.total);
      results.querySelector("[data-people]").textContent = totals.total === 1 ? "ballot" : "ballots";
      asOfMs = Date.parse(totals.as_of);
      asOf.dateTime = totals.as_of;
      tell();
    };
    let events, later;
    const rest = () => {
      clearTimeout(later);
      if (events) events.close();
    };
    const follow = () => {
      rest();
      events = new EventSource(results.dataset.events);
      events.addEventListener("results", (event) => show(JSON.parse(event.data)));
      // A connection that breaks is taken up again by the browser; an answer such as 503 is not. All readers get it in one
      // moment, and must not come back in one.
      events.addEventListener("error", () => {
        if (events.readyState === EventSource.CLOSED) later = setTimeout(follow, 10000 + 20000 * Math.random());
      });
    };
    // A page in the background need not hold a connection.
    const heed = () => { if (document.hidden) rest(); else follow(); };
    document.addEventListener("visibilitychange", heed);
    heed();
    setInterval(tell, 1000);
  }

  // In a frame: tell the article how tall this is, so that it can do without a scroll bar.
  if (window.parent !== window) {
    const tall = () => window.parent.postMessage({ weir: { height: document.documentElement.offsetHeight } }, "*");
    new ResizeObserver(tall).observe(document.documentElement);
  }
})();
