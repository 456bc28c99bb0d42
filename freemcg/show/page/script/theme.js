// Light, dark, or as the machine has it.
const THEMES = ["auto", "light", "dark"];
const listenToTheme = () => {
  let theme = kept.get("freemcg-theme") ?? "auto";
  const apply = () => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    one(".theme").textContent = `Theme: ${theme}`;
  };
  apply();
  one(".theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    kept.set("freemcg-theme", theme);
    apply();
  });
};
