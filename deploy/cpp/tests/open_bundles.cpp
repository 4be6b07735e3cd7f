// Opens every directory that a line of standard input names, and says of each on a line what is wrong with it: for the tests
// in Python, which ask other readers the same.
#include <iostream>
#include <string>

#include "temport/temport.hpp"

int main() {
  for (std::string directory; std::getline(std::cin, directory);) {
    const auto bundle = temport::Bundle::open(directory);
    std::string said = bundle ? "" : bundle.error().message;
    for (char& letter : said)
      if (letter == '\n') letter = ' ';
    std::cout << said << '\n';
  }
}
