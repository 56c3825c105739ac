// What a careful reader would object to on the page that is open, as {kind: [sentence, ...]}.
// An expression for tests/reporting/test_browser.py; it opens every <details> first.
(() => {
  const found = { contrast: [], overlapping: [], cut: [], tiny: [] };
  document.querySelectorAll("details").forEach((details) => (details.open = true));

  const components = (text) => {
    const numbers = text.match(/[\d.]+/g).map(Number);
    return numbers.length > 3 ? numbers : [...numbers, 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[3] * top[i] + (1 - top[3]) * below[i]);
  const ground = (element) => {
    if (element === null) return [255, 255, 255];
    const colour = components(getComputedStyle(element).backgroundColor);
    return colour[3] === 1 ? colour.slice(0, 3) : over(colour, ground(element.parentElement));
  };
  // WCAG 2.2, "relative luminance" and "contrast ratio".
  const luminance = (colour) => {
    const [r, g, b] = colour.map((value) => value / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim();
    if (!text || !element.checkVisibility() || element.closest("title, style")) continue;
    const style = getComputedStyle(element);
    const svg = element.closest("svg");
    const below = ground(element);
    const ratio = contrast(over(components(svg ? style.fill : style.color), below), below);
    if (ratio < 4.5) found.contrast.push(`${ratio.toFixed(2)}: ${text.slice(0, 60)}`);
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    const size = parseFloat(style.fontSize) * scale;
    if (size < 11) found.tiny.push(`${size.toFixed(1)} px: ${text.slice(0, 60)}`);
    if (style.overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1 && !element.closest("[title]"))
      found.cut.push(text.slice(0, 60));
  }

  for (const svg of document.querySelectorAll("svg.chart")) {
    const frame = svg.getBoundingClientRect();
    const boxes = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    boxes.forEach(([text, box], index) => {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        found.cut.push(text);
      for (const [other, its] of boxes.slice(index + 1)) {
        const width = Math.min(box.right, its.right) - Math.max(box.left, its.left);
        const height = Math.min(box.bottom, its.bottom) - Math.max(box.top, its.top);
        // Boxes of letters have air above and below: what counts is a good part of a line.
        if (width > 1 && height > 4) found.overlapping.push(`${text} and ${other}`);
      }
    });
  }
  return found;
})();
