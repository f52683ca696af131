// Light, dark or as the system: a classic script in the head, so that it is settled before the first paint.
(() => {
  const names = ['system', 'light', 'dark'];
  const root = document.documentElement;
  const read = () => {
    try { return localStorage.getItem('nacelle.theme'); } catch { return null; }
  };
  const apply = (name) => {
    root.dataset.theme = names.includes(name) ? name : 'system';
  };
  apply(read());

  globalThis.nacelleTheme = {
    names,
    current: () => root.dataset.theme,
    choose(name) {
      apply(name);
      try { localStorage.setItem('nacelle.theme', root.dataset.theme); } catch { /* for this page only, then */ }
    },
  };
})();
