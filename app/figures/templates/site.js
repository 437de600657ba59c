for (const data of document.querySelectorAll('script[type="application/json"]')) {
  vegaEmbed(data.nextElementSibling, JSON.parse(data.textContent), {actions: false, renderer: 'svg'});
}
const search = document.getElementById('search');
if (search) search.addEventListener('input', () => {
  const wanted = search.value.toLowerCase();
  for (const row of document.querySelectorAll('tbody tr')) {
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
  }
});
