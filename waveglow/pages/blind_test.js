'use strict';
const blind = document.getElementById('blind'), get = name => blind.querySelector('[data-part=' + name + ']');
const players = {};
for (const player of document.querySelectorAll('audio[data-clip]'))
  (players[player.dataset.clip] ||= {})[player.dataset.row] = player.src;
const store = {
  read() { try { return JSON.parse(localStorage.getItem(blind.dataset.key)); } catch { return null; } },
  write(state) { try { localStorage.setItem(blind.dataset.key, JSON.stringify(state)); } catch { /* forget */ } },
};
let state = store.read();

function show(element, visible) { element.hidden = !visible; }
function shuffled(list) {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}
function begin() {
  const rows = [get('first').value, get('second').value];
  const clips = Object.keys(players).filter(clip => rows.every(row => players[clip][row]));
  if (rows[0] === rows[1] || !clips.length) {
    get('said').textContent = rows[0] === rows[1] ? 'Choose two different ones.' : 'They have no clip in common.';
    return;
  }
  const trials = shuffled(clips).map(clip => ({ clip, a: Math.random() < 0.5 ? 0 : 1 }));
  state = { rows, trials, answers: [] };
  store.write(state);
  render();
}
function answer(choice) {
  const trial = state.trials[state.answers.length];
  state.answers.push(choice === null ? null : choice === 'a' ? trial.a : 1 - trial.a);
  store.write(state);
  render();
}
function atLeast(right, n) {
  let term = Math.pow(0.5, n), sum = 0;
  for (let k = 0; k <= n; k++) {
    if (k >= right) sum += term;
    term *= (n - k) / (k + 1);
  }
  return Math.min(1, sum);
}
function render() {
  for (const player of [get('a'), get('b')]) player.pause();
  get('said').textContent = '';
  const done = state ? state.answers.length : 0, total = state ? state.trials.length : 0;
  show(get('setup'), !state);
  show(get('trial'), state && done < total);
  show(get('result'), state && done === total);
  show(get('again'), state);
  show(get('stop'), state && done > 0 && done < total);
  if (!state) return;
  const findOriginal = state.rows.includes(blind.dataset.truth);
  if (done < total) {
    const trial = state.trials[done];
    get('a').src = players[trial.clip][state.rows[trial.a]];
    get('b').src = players[trial.clip][state.rows[1 - trial.a]];
    const question = findOriginal ? 'Which one is the original recording?' : 'Which one sounds better?';
    get('question').textContent = (done + 1) + ' of ' + total + ': ' + question;
    return;
  }
  const tally = [0, 1].map(row => state.answers.filter(given => given === row).length);
  const unsure = total - tally[0] - tally[1], decided = tally[0] + tally[1];
  let text;
  if (findOriginal) {
    const right = tally[state.rows.indexOf(blind.dataset.truth)];
    text = 'You found the original in ' + right + ' of ' + decided + ' clips. Guessing finds as many or more with ' +
      'probability ' + atLeast(right, decided).toFixed(3) + '.';
  } else {
    text = state.rows.map((row, index) => row + ': ' + tally[index]).join(', ') + '. Without any preference, one of ' +
      'them leads as far with probability ' + Math.min(1, 2 * atLeast(Math.max(...tally), decided)).toFixed(3) + '.';
  }
  get('verdict').textContent = text + (unsure ? ' No answer: ' + unsure + '.' : '');
  get('answers').replaceChildren(...state.trials.map((trial, index) => {
    const line = document.createElement('tr'), given = state.answers[index];
    const cells = [trial.clip, state.rows[trial.a], state.rows[1 - trial.a], given === null ? '–' : state.rows[given]];
    line.replaceChildren(...cells.map(text => {
      const cell = document.createElement('td');
      cell.textContent = text;
      return cell;
    }));
    return line;
  }));
}
get('begin').addEventListener('click', begin);
get('pick-a').addEventListener('click', () => answer('a'));
get('pick-b').addEventListener('click', () => answer('b'));
get('pick-none').addEventListener('click', () => answer(null));
get('stop').addEventListener('click', () => {
  state.trials.length = state.answers.length;
  store.write(state);
  render();
});
get('again').addEventListener('click', () => { state = null; store.write(null); render(); });
if (state && !state.trials.every(trial => players[trial.clip])) state = null;
render();
