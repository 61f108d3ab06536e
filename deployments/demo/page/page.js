"use strict";
// The page reads without this; it moves the sliders and copies commands.
for (const box of document.querySelectorAll(".compare")) {
  const slider = box.querySelector("input");
  const show = () => {
    box.style.setProperty("--at", slider.value + "%");
    slider.setAttribute("aria-valuetext", slider.value + " percent photo");
  };
  slider.addEventListener("input", () => {
    box.classList.remove("greets");
    show();
  });
  slider.value = slider.defaultValue; // browsers restore sliders, but not the picture under them
  show();
}
for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1600);
  });
}
