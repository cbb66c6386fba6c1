// The page that asks for a token. Where the address brings one, behind `#token=`, nobody has to paste it.

import { whoAmI } from "./access.js";
import { $ } from "./elements.js";

const IN_ADDRESS = "#token=";

const form = $("login");
const field = $("token");
const button = form.querySelector("button");

/** Where to go after the login: an address of this server and no other. */
function goal() {
  const isHere = location.pathname !== "/login"; // another page, which needs another token
  const wanted = isHere ? location.href : new URLSearchParams(location.search).get("next") ?? "/";
  let address;
  try {
    address = new URL(wanted, location.origin);
  } catch {
    return "/";
  }
  if (address.origin !== location.origin || address.pathname === "/login") return "/";
  if (!isHere && address.hash === "") address.hash = rest; // browsers keep it over the way to here
  return address.href;
}

function complain(text) {
  $("problem").textContent = text;
  if (text === "") field.removeAttribute("aria-invalid");
  else field.setAttribute("aria-invalid", "true");
}

async function logIn(token) {
  complain("");
  if (token === "") {
    complain("Paste your token here.");
    field.focus();
    return;
  }
  button.disabled = true;
  try {
    const response = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (response.ok) {
      location.replace(goal());
      return;
    }
    const { detail } = await response.json();
    complain(`Not logged in: ${detail}.`);
  } catch {
    complain("The server does not answer. Try again.");
  }
  button.disabled = false;
  field.focus();
  field.select();
}

/** The token that the address brings, which does not stay there. */
function brought() {
  if (!location.hash.startsWith(IN_ADDRESS)) return "";
  const token = location.hash.slice(IN_ADDRESS.length);
  history.replaceState(null, "", location.pathname + location.search);
  return token;
}

const token = brought();
const rest = location.hash === "#failed" ? "" : location.hash;

async function begin() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    logIn(field.value.trim());
  });
  field.addEventListener("input", () => complain(""));
  field.value = token;
  let who = { role: null };
  try {
    who = await whoAmI();
  } catch {
    // the login will say so
  }
  if (who.role === null) {
    if (token !== "") logIn(token);
    return;
  }
  const name = `${who.subject} (${who.role})`;
  if (location.pathname !== "/login") $("why").textContent = `You are logged in as ${name}, who may not see this page.`;
  else if (token === "") location.replace(goal()); // where they come from did not let the cookie be sent
  else $("why").textContent = `You are logged in as ${name}. To go on as whoever this token is for, log in.`;
}

begin();
