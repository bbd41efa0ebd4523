// After the login, go on to the page that was asked for.
if (location.pathname.startsWith("/transfers/")) {
  document.getElementById("next").value = location.pathname;
}
