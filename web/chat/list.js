/** A list of any length of which only what is seen, and a little more, is in the page. */

/** How far beyond what is seen rows are made, in pixels. */
const BEYOND = 500;

/** How near the end still counts as the end, in pixels. */
const END = 40;

/** The height of a row that was never seen, in pixels. */
const GUESS = 52;

/** Returns what of a row can have the focus. */
const parts = (element) => [...element.querySelectorAll("a, button")];

/**
 * Rows are objects with a `key` that stays and a `version` that changes with the content. `make(row)` returns the element
 * of a row.
 */
export class List {
  #scroller;
  #height;
  #box;
  #make;
  #rows = [];
  #places = new Map();
  /** The measured heights by key. */
  #heights = new Map();
  /** Where each row begins; one more for the end. It is the beginning of the room that there is. */
  #tops = new Float64Array(1);
  #room = new Float64Array(64);
  #made = new Map();
  #isAtEnd = true;
  #watch;
  /** The room below the last row, in pixels. */
  #below;

  constructor({ scroller, height, box, make, scrolled }) {
    this.#scroller = scroller;
    this.#height = height;
    this.#box = box;
    this.#make = make;
    this.#below = parseFloat(getComputedStyle(scroller).paddingBlockEnd) || 0;
    let waits = false;
    scroller.addEventListener(
      "scroll",
      () => {
        if (waits) return;
        waits = true;
        requestAnimationFrame(() => {
          waits = false;
          this.#isAtEnd = this.#scroller.scrollTop + this.#scroller.clientHeight >= this.#tops.at(-1) - END;
          this.#draw();
          scrolled();
        });
      },
      { passive: true },
    );
    // Pictures load, windows change their width, fonts come late.
    this.#watch = new ResizeObserver(() => this.#draw());
    this.#watch.observe(scroller);
    this.#watch.observe(box);
  }

  get isAtEnd() {
    return this.#isAtEnd;
  }

  get isAtBeginning() {
    return this.#scroller.scrollTop < 2 * this.#scroller.clientHeight;
  }

  get rows() {
    return this.#rows;
  }

  /** The number of rows that are in the page. */
  get made() {
    return this.#made.size;
  }

  /** Shows other rows. What is seen stays where it is, or at the end if it was there. */
  show(rows) {
    const anchor = this.#anchor();
    this.#rows = rows;
    this.#places = new Map(rows.map((row, place) => [row.key, place]));
    if (this.#heights.size > 2 * rows.length + 1_000) {
      for (const key of this.#heights.keys()) if (!this.#places.has(key)) this.#heights.delete(key);
    }
    this.#sum(0);
    this.#draw(anchor);
  }

  /** Shows another list, from its end. */
  begin(rows) {
    this.#heights.clear();
    this.#isAtEnd = true;
    this.show(rows);
  }

  toEnd() {
    this.#isAtEnd = true;
    this.#draw();
  }

  /** Brings a row into sight. */
  reveal(key) {
    const place = this.#places.get(key);
    if (place === undefined) return;
    for (let turn = 0; turn < 3; turn++) {
      const [top, bottom] = [this.#tops[place], this.#tops[place + 1]];
      const { scrollTop, clientHeight } = this.#scroller;
      if (top >= scrollTop && bottom <= scrollTop + clientHeight) break;
      this.#isAtEnd = false;
      const isAbove = top < scrollTop;
      this.#scroller.scrollTop = isAbove ? Math.max(top - 16, 0) : bottom + 16 - clientHeight;
      this.#draw(undefined);
    }
    this.#isAtEnd = this.#scroller.scrollTop + this.#scroller.clientHeight >= this.#tops.at(-1) - END;
  }

  /** Returns the element of a row, if it is in the page. */
  element(key) {
    return this.#made.get(key)?.element;
  }

  place(key) {
    return this.#places.get(key);
  }

  /** Sums up heights from a place on. */
  #sum(from) {
    const count = this.#rows.length;
    if (this.#room.length <= count) {
      const longer = new Float64Array(Math.ceil(1.5 * count) + 64);
      longer.set(this.#room);
      this.#room = longer;
    }
    const tops = this.#room;
    for (let place = from; place < count; place++) {
      tops[place + 1] = tops[place] + (this.#heights.get(this.#rows[place].key) ?? GUESS);
    }
    this.#tops = tops.subarray(0, count + 1);
  }

  /** Returns the first place whose row ends behind a height. */
  #find(top) {
    let [low, high] = [0, this.#rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#tops[middle + 1] <= top) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Returns the first row that is seen and stays where it is among others, and how far above the edge it begins. */
  #anchor() {
    const { scrollTop } = this.#scroller;
    let place = this.#find(scrollTop);
    while (this.#rows[place]?.moves) place++;
    const row = this.#rows[place];
    return row && { key: row.key, above: scrollTop - this.#tops[place], next: this.#rows[place + 1]?.key };
  }

  #draw(anchor = this.#anchor()) {
    // Rows are measured when they are made. Their real heights may call for others.
    for (let turn = 0; turn < 4; turn++) {
      const total = this.#tops.at(-1);
      const view = this.#scroller.clientHeight;
      if (view === 0) return;
      // Short lists end above the field in which one writes, and have nothing to scroll.
      const room = view - this.#below;
      this.#height.style.height = `${Math.max(total, room)}px`;
      const lift = Math.max(room - total, 0);
      if (this.#isAtEnd) this.#scroller.scrollTop = total;
      else if (anchor) {
        const place = this.#places.get(anchor.key) ?? this.#places.get(anchor.next);
        if (place !== undefined) this.#scroller.scrollTop = this.#tops[place] + anchor.above;
      }
      const top = this.#isAtEnd ? Math.max(total - view, 0) : this.#scroller.scrollTop;
      const from = this.#find(top - BEYOND);
      const to = Math.min(this.#find(top + view + BEYOND) + 1, this.#rows.length);
      this.#fit(from, to);
      this.#box.style.transform = `translateY(${this.#tops[from] + lift}px)`;
      if (!this.#measure(from, to)) return;
    }
  }

  /** Makes the elements of these rows, and removes others. */
  #fit(from, to) {
    const wanted = new Set();
    for (let place = from; place < to; place++) wanted.add(this.#rows[place].key);
    for (const [key, { element }] of this.#made) {
      if (wanted.has(key)) continue;
      element.remove();
      this.#made.delete(key);
    }
    let before = null;
    for (let place = to - 1; place >= from; place--) {
      const row = this.#rows[place];
      let made = this.#made.get(row.key);
      if (made && made.version !== row.version) {
        const element = this.#make(row);
        const focused = parts(made.element).indexOf(document.activeElement);
        made.element.replaceWith(element);
        // Who goes through the page with the keyboard stays where they are.
        if (focused >= 0) (parts(element)[focused] ?? this.#scroller).focus({ preventScroll: true });
        Object.assign(made, { element, version: row.version });
      } else if (!made) {
        made = { element: this.#make(row), version: row.version };
        this.#made.set(row.key, made);
      }
      const { element } = made;
      if (element.nextSibling !== before || element.parentNode !== this.#box) this.#box.insertBefore(element, before);
      element.setAttribute("aria-setsize", this.#rows.length);
      element.setAttribute("aria-posinset", place + 1);
      before = element;
    }
  }

  /** Measures these rows. Returns whether a height is another one than it was. */
  #measure(from, to) {
    let first = -1;
    for (let place = from; place < to; place++) {
      const { key } = this.#rows[place];
      const height = this.#made.get(key).element.getBoundingClientRect().height;
      if (Math.abs((this.#heights.get(key) ?? GUESS) - height) > 0.5 || !this.#heights.has(key)) {
        this.#heights.set(key, height);
        if (first < 0) first = place;
      }
    }
    if (first >= 0) this.#sum(first);
    return first >= 0;
  }
}
